import { setImmediate as nextTurn } from 'node:timers/promises';
import type { TextClient } from '../text/text-thread.ts';
import { tokenName, type TextCodec } from './codec.ts';
import type { PlainEndpoint } from './endpoint.ts';
import { ApiError } from './errors.ts';
import { chatRequestSchema } from './requests/chat-schema.ts';
import { ignoredTools } from './requests/chat-tools.ts';
import { bodyError, list, z } from './requests/fields.ts';
import { chatPrompt } from './requests/parse-chat.ts';
import { checkIds, encode, MAX_TRUNCATED, adapterOf } from './requests/parse-common.ts';
import type { ParseDeps } from './requests/parsed-request.ts';
import { model } from './requests/sampling-schema.ts';

/** Tokens of one answer where the context holds fewer: writing more would make other requests wait. */
const MAX_TOKENS = 131_072;
/** Written at once; takes about 2 ms. */
const AT_ONCE = 4_096;

const chat = chatRequestSchema.def.shape;

export const tokenizeRequestSchema = z.object(
  {
    model,
    prompt: z.string().nullish().meta({ description: 'A text, as vLLM takes it.' }),
    messages: chat.messages.nullish().meta({ description: 'A conversation, as /v1/chat/completions takes it.' }),
    content: z.string().nullish().meta({ description: 'A text, as llama.cpp takes it.' }),
    add_special_tokens: z.boolean().nullish().meta({
      description: 'With `prompt`: begin as a prompt does, where the model has such a token. Default: true.',
    }),
    add_special: z.boolean().nullish().meta({ description: 'The same with `content`. Default: false.' }),
    return_token_strs: z.boolean().nullish().meta({ description: 'Give each token’s text as well.' }),
    with_pieces: z.boolean().nullish().meta({ description: 'The same with `content`.' }),
    tools: chat.tools,
    tool_choice: chat.tool_choice,
    parallel_tool_calls: chat.parallel_tool_calls,
    response_format: chat.response_format,
    reasoning_effort: chat.reasoning_effort,
    chat_template_kwargs: chat.chat_template_kwargs,
    thinking: chat.thinking,
    enable_thinking: chat.enable_thinking,
    add_generation_prompt: chat.add_generation_prompt,
    continue_final_message: chat.continue_final_message,
  },
  { error: bodyError },
);
export type TokenizeRequest = z.infer<typeof tokenizeRequestSchema>;

export const tokenizedSchema = z.object({
  count: z.number().int(),
  max_model_len: z.number().int().meta({ description: 'Tokens that a prompt and its answer may have together.' }),
  tokens: z.array(z.number().int()),
  token_strs: z.array(z.string()).nullable(),
});

export const detokenizeRequestSchema = z.object(
  { model, tokens: list(z.number().int().min(0)).max(MAX_TOKENS) },
  { error: bodyError },
);
export type DetokenizeRequest = z.infer<typeof detokenizeRequestSchema>;

export const detokenizedSchema = z.object({
  prompt: z.string(),
  content: z.string().meta({ description: 'The same, by llama.cpp’s name.' }),
});

/** The tokens of a text or a conversation. */
export const tokenize: PlainEndpoint<TokenizeRequest> = {
  url: '/v1/tokenize',
  schema: tokenizeRequestSchema,
  read: (body) => ({
    answer: (deps, client) => tokenized(body, deps, client),
    ignored: ignoredTools(body),
  }),
};

async function tokenized(body: TokenizeRequest, deps: ParseDeps, client: TextClient): Promise<object> {
  const given = (['prompt', 'messages', 'content'] as const).filter((name) => body[name] != null);
  if (given.length !== 1) {
    throw ApiError.invalid(given[1] ?? 'prompt', "Send exactly one of 'prompt', 'messages' and 'content'.");
  }
  adapterOf(body.model, deps);
  const tokens = await tokensOf(body, deps, client);
  const { maxContext } = deps.generation;
  const most = Math.max(MAX_TOKENS, maxContext);
  if (tokens.length > most) {
    throw ApiError.invalid(given[0]!, `The text has ${tokens.length} tokens; at most ${most} are listed. Split it.`);
  }
  const wantsTexts = (given[0] === 'content' ? body.with_pieces : body.return_token_strs) ?? false;
  const texts = wantsTexts ? await named(tokens, deps.codec) : null;
  if (given[0] !== 'content') return { count: tokens.length, max_model_len: maxContext, tokens, token_strs: texts };
  return { tokens: texts ? tokens.map((id, index) => ({ id, piece: texts[index]! })) : tokens };
}

/** The text of tokens, with special tokens by their names. */
export const detokenize: PlainEndpoint<DetokenizeRequest> = {
  url: '/v1/detokenize',
  schema: detokenizeRequestSchema,
  read: (body) => ({ answer: (deps) => detokenized(body, deps) }),
};

async function detokenized({ model: asked, tokens }: DetokenizeRequest, deps: ParseDeps): Promise<object> {
  adapterOf(asked, deps);
  const { codec } = deps;
  checkIds('tokens', tokens, codec.vocabSize);
  const detokenizer = codec.newDetokenizer();
  const textOf = (id: number): string => {
    const special = codec.specialText(id);
    return special === undefined ? detokenizer.push(id) : detokenizer.flush() + special;
  };
  const pieces = await inTurns(tokens, textOf);
  const whole = pieces.join('') + detokenizer.flush();
  const text = codec.dropsFirstSpace && whole.startsWith(' ') ? whole.slice(1) : whole;
  return { prompt: text, content: text };
}

async function tokensOf(body: TokenizeRequest, deps: ParseDeps, client: TextClient): Promise<number[]> {
  if (body.messages != null) {
    const { ids } = await chatPrompt(
      { ...body, messages: body.messages, truncate_prompt_tokens: MAX_TRUNCATED },
      deps,
      client,
    );
    return ids;
  }
  const param = body.prompt == null ? 'content' : 'prompt';
  const addsSpecialTokens = param === 'prompt' ? (body.add_special_tokens ?? true) : (body.add_special ?? false);
  const task = { text: body[param] ?? '', addsSpecialTokens, isWhole: (deps.embeddings ?? deps.source) !== undefined };
  return (await encode(task, param, { truncate_prompt_tokens: MAX_TRUNCATED }, deps, client)).list;
}

const named = (tokens: readonly number[], codec: TextCodec): Promise<string[]> =>
  inTurns(tokens, (id) => tokenName(codec, id));

/** Other work gets its turn between pieces of a long list. */
async function inTurns(tokens: readonly number[], textOf: (id: number) => string): Promise<string[]> {
  const texts: string[] = [];
  for (let at = 0; at < tokens.length; at += AT_ONCE) {
    if (at > 0) await nextTurn();
    for (const id of tokens.slice(at, at + AT_ONCE)) texts.push(textOf(id));
  }
  return texts;
}
