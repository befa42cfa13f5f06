import { randomInt } from 'node:crypto';
import { ChatTemplateError, type ChatMessage, type TextCodec } from './codec.ts';
import type { GenerationRequest } from '../scheduler/generation.ts';
import type { HttpDeps, HttpLimits } from './deps.ts';
import { ApiError } from './errors.ts';
import type { ChatRequest, CompletionRequest } from './request-schema.ts';

/** OpenAI's default for completions. Chat answers may fill the context. */
const DEFAULT_COMPLETION_TOKENS = 16;
/** Bound of the seeds that are drawn for requests without one. */
const MAX_DRAWN_SEED = 2 ** 31;
/** 2³² / golden ratio, odd: spreads the seeds of a request's choices over the whole range. */
const SEED_STRIDE = 0x9e3779b1;

export interface ParsedPrompt {
  ids: number[];
  maxTokens: number;
}

/** A validated request, in token ids and resolved numbers. */
export interface ParsedRequest {
  prompts: ParsedPrompt[];
  n: number;
  seed: number;
  stop: string[];
  echo: boolean;
  stream: boolean;
  includeUsage: boolean;
  /** What all choices ask of the scheduler. */
  generation: Omit<GenerationRequest, 'id' | 'promptIds' | 'maxTokens' | 'seed' | 'promptLogprobs' | 'signal'>;
}

export type ParseDeps = Pick<HttpDeps, 'generation' | 'codec' | 'defaults'> & { limits: HttpLimits };

/** Throws an ApiError that names the parameter. */
export function parseCompletion(body: CompletionRequest, deps: ParseDeps): ParsedRequest {
  const common = parseCommon(body, body.logprobs ?? undefined, deps);
  if (body.best_of != null && body.best_of !== common.n) {
    throw ApiError.invalid('best_of', "Invalid 'best_of': this is not supported; leave it out or send the value of n.");
  }
  const prompts = completionPrompts(body.prompt, deps);
  if (prompts.length * common.n > deps.limits.choicesPerRequest) {
    throw ApiError.invalid(
      'prompt',
      `Prompts × n is ${prompts.length * common.n}; at most ${deps.limits.choicesPerRequest} are answered in one request. Split it.`,
    );
  }
  return {
    ...common,
    prompts: prompts.map((ids) => fitContext(ids, body.max_tokens, DEFAULT_COMPLETION_TOKENS, 'prompt', deps)),
    echo: body.echo ?? false,
  };
}

/** Throws an ApiError that names the parameter. */
export function parseChat(body: ChatRequest, deps: ParseDeps): ParsedRequest {
  const common = parseCommon(body, body.logprobs === true ? (body.top_logprobs ?? 0) : undefined, deps);
  if (body.top_logprobs != null && body.logprobs !== true) {
    throw ApiError.invalid('top_logprobs', "Invalid 'top_logprobs': it requires logprobs: true.");
  }
  if (body.max_tokens != null && body.max_completion_tokens != null && body.max_tokens !== body.max_completion_tokens) {
    throw ApiError.invalid('max_tokens', "'max_tokens' and 'max_completion_tokens' differ. Send one of them.");
  }
  const ids = encodeBounded(renderMessages(body, deps.codec), 'messages', deps);
  const asked = body.max_completion_tokens ?? body.max_tokens;
  const prompt = fitContext(ids, asked, Number.POSITIVE_INFINITY, 'messages', deps);
  return { ...common, prompts: [prompt], echo: false };
}

/** The seed of a choice. The first has the request's own, so that n does not change it, and every prompt has the same. */
export function choiceSeed(seed: number, choice: number): number {
  return choice === 0 ? seed : ((seed % MAX_DRAWN_SEED) + choice * SEED_STRIDE) % Number.MAX_SAFE_INTEGER;
}

/** What both endpoints have. */
function parseCommon(body: CompletionRequest | ChatRequest, topLogprobs: number | undefined, deps: ParseDeps) {
  if (body.model !== deps.generation.modelId) throw ApiError.unknownModel(deps.generation.modelId);
  const stream = body.stream ?? false;
  if (body.stream_options != null && !stream) {
    throw ApiError.invalid('stream_options', "Invalid 'stream_options': it requires stream: true.");
  }
  const temperature = body.temperature ?? deps.defaults.temperature;
  const topP = body.top_p ?? deps.defaults.topP;
  return {
    n: body.n ?? 1,
    seed: body.seed ?? randomInt(MAX_DRAWN_SEED),
    stop: body.stop == null ? [] : typeof body.stop === 'string' ? [body.stop] : body.stop,
    stream,
    includeUsage: body.stream_options?.include_usage ?? false,
    generation: {
      // A nucleus without mass holds only the most likely token, which is greedy decoding.
      ...(topP === 0 ? { temperature: 0, topP: 1 } : { temperature, topP }),
      topK: Math.max(0, body.top_k ?? 0),
      topLogprobs,
      trace: body.shoal?.trace ?? false,
      deviceLimit: body.shoal?.device_limit,
      speculate: body.shoal?.speculate,
    },
  };
}

function completionPrompts(prompt: CompletionRequest['prompt'], deps: ParseDeps): number[][] {
  if (typeof prompt === 'string') return [encodeBounded(prompt, 'prompt', deps)];
  // Counted before tokenizing, so that a refusal costs nothing.
  if (typeof prompt[0] !== 'number' && prompt.length > deps.limits.choicesPerRequest) {
    throw ApiError.invalid(
      'prompt',
      `The request has ${prompt.length} prompts; at most ${deps.limits.choicesPerRequest} are answered in one.`,
    );
  }
  if (typeof prompt[0] === 'number') return [checkIds(prompt as number[], 'prompt', deps.codec)];
  return (prompt as (string | number[])[]).map((one, index) =>
    typeof one === 'string'
      ? encodeBounded(one, `prompt[${index}]`, deps)
      : checkIds(one, `prompt[${index}]`, deps.codec),
  );
}

function checkIds(ids: number[], param: string, codec: TextCodec): number[] {
  if (ids.some((id) => id >= codec.vocabSize)) {
    throw ApiError.invalid(param, `Invalid '${param}': token ids go from 0 to ${codec.vocabSize - 1}.`);
  }
  return ids;
}

/** Tokenizes a text. One that cannot fit whatever its tokens are is refused by its bytes, since tokenizing blocks. */
function encodeBounded(text: string, param: string, deps: ParseDeps): number[] {
  const { generation, codec } = deps;
  const bytes = Buffer.byteLength(text);
  if (bytes > generation.maxContext * codec.maxTokenBytes) {
    throw ApiError.contextLength(
      param,
      `This model's maximum context length is ${generation.maxContext} tokens; ${bytes} bytes of text cannot fit. Shorten it.`,
    );
  }
  return codec.encodePrompt(text);
}

function fitContext(
  ids: number[],
  asked: number | null | undefined,
  byDefault: number,
  param: string,
  deps: ParseDeps,
): ParsedPrompt {
  const room = deps.generation.maxContext - ids.length;
  const wanted = asked ?? Math.min(byDefault, Math.max(room, 1));
  if (wanted > room) {
    throw ApiError.contextLength(
      param,
      `This model's maximum context length is ${deps.generation.maxContext} tokens. You asked for ${ids.length + wanted}: ` +
        `${ids.length} in the prompt and ${wanted} for the answer. Shorten one of them.`,
    );
  }
  return { ids, maxTokens: wanted };
}

function renderMessages(body: ChatRequest, codec: TextCodec): string {
  try {
    return codec.renderChat(chatMessages(body));
  } catch (thrown) {
    if (!(thrown instanceof ChatTemplateError)) throw thrown;
    throw ApiError.invalid('messages', `Invalid 'messages': ${thrown.message}.`);
  }
}

function chatMessages(body: ChatRequest): ChatMessage[] {
  return body.messages.map(({ role, content, name }) => ({
    role: role === 'developer' ? 'system' : role,
    content: typeof content === 'string' ? content : content.map((part) => part.text).join(''),
    ...(name == null ? {} : { name }),
  }));
}
