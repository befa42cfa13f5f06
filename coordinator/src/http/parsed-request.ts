import { randomInt } from 'node:crypto';
import { DEFAULT_RETRY_S, GenerationError, type GenerationRequest } from '../scheduler/generation.ts';
import type { ChatMessage, TextFault } from '../text/encode-task.ts';
import { type TextClient, TextThreadError } from '../text/text-thread.ts';
import type { TextCodec } from './codec.ts';
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

/** Rejects with an ApiError that names the parameter, or with the reason of the client's signal. */
export async function parseCompletion(
  body: CompletionRequest,
  deps: ParseDeps,
  client: TextClient,
): Promise<ParsedRequest> {
  const common = parseCommon(body, body.logprobs ?? undefined, deps);
  if (body.best_of != null && body.best_of !== common.n) {
    throw ApiError.invalid('best_of', "Invalid 'best_of': this is not supported; leave it out or send the value of n.");
  }
  const prompts = completionPrompts(body.prompt);
  // Counted before tokenizing, so that a refusal costs nothing.
  if (prompts.length * common.n > deps.limits.choicesPerRequest) {
    throw ApiError.invalid(
      'prompt',
      `Prompts × n is ${prompts.length * common.n}; at most ${deps.limits.choicesPerRequest} are answered in one request. Split it.`,
    );
  }
  const parsed: ParsedPrompt[] = [];
  // One after the other, so that a request has one text in the queue.
  for (const [param, prompt] of prompts) {
    const ids = typeof prompt === 'string' ? await encode({ text: prompt }, param, deps, client) : prompt;
    if (typeof prompt !== 'string') checkIds(prompt, param, deps.codec);
    parsed.push(fitContext(ids, body.max_tokens, DEFAULT_COMPLETION_TOKENS, 'prompt', deps));
  }
  return { ...common, prompts: parsed, echo: body.echo ?? false };
}

/** Rejects with an ApiError that names the parameter, or with the reason of the client's signal. */
export async function parseChat(body: ChatRequest, deps: ParseDeps, client: TextClient): Promise<ParsedRequest> {
  const common = parseCommon(body, body.logprobs === true ? (body.top_logprobs ?? 0) : undefined, deps);
  if (body.top_logprobs != null && body.logprobs !== true) {
    throw ApiError.invalid('top_logprobs', "Invalid 'top_logprobs': it requires logprobs: true.");
  }
  if (body.max_tokens != null && body.max_completion_tokens != null && body.max_tokens !== body.max_completion_tokens) {
    throw ApiError.invalid('max_tokens', "'max_tokens' and 'max_completion_tokens' differ. Send one of them.");
  }
  const ids = await encode({ messages: chatMessages(body) }, 'messages', deps, client);
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

/** Prompts with the parameter that names them in errors. */
function completionPrompts(prompt: CompletionRequest['prompt']): [param: string, prompt: string | number[]][] {
  if (typeof prompt === 'string') return [['prompt', prompt]];
  if (typeof prompt[0] === 'number') return [['prompt', prompt as number[]]];
  return (prompt as (string | number[])[]).map((one, index) => [`prompt[${index}]`, one]);
}

function checkIds(ids: number[], param: string, codec: TextCodec): void {
  if (ids.some((id) => id >= codec.vocabSize)) {
    throw ApiError.invalid(param, `Invalid '${param}': token ids go from 0 to ${codec.vocabSize - 1}.`);
  }
}

/** Token ids of a text or a conversation. */
async function encode(
  text: { text: string } | { messages: ChatMessage[] },
  param: string,
  { generation: { maxContext }, codec }: ParseDeps,
  client: TextClient,
): Promise<number[]> {
  try {
    const outcome = await codec.encode({ ...text, maxTokens: maxContext }, client);
    if ('ids' in outcome) return Array.from(outcome.ids);
    throw faultError(outcome.fault, param, maxContext);
  } catch (thrown) {
    throw thrown instanceof TextThreadError ? threadError(thrown, param) : thrown;
  }
}

function faultError(fault: TextFault, param: string, maxContext: number): ApiError {
  if (fault.reason === 'template') return ApiError.invalid(param, `Invalid '${param}': ${fault.message}.`);
  if (fault.reason === 'marks') {
    return ApiError.invalid(param, `Invalid '${param}': the text has ${fault.message}. Remove some of them.`);
  }
  return ApiError.contextLength(
    param,
    `This model's maximum context length is ${maxContext} tokens; ${fault.bytes} bytes of text have more and cannot fit. Shorten it.`,
  );
}

function threadError(error: TextThreadError, param: string): Error {
  switch (error.reason) {
    case 'full':
      return new GenerationError('queue-full', error.message, DEFAULT_RETRY_S);
    case 'share-full':
      return new GenerationError('share-full', error.message, DEFAULT_RETRY_S);
    case 'timeout':
      return ApiError.invalid(
        param,
        `Invalid '${param}': the text takes too long to tokenize. Shorten it, or break up long runs of letters and spaces.`,
      );
    case 'failed':
      return error;
    default:
      return error.reason satisfies never;
  }
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

function chatMessages(body: ChatRequest): ChatMessage[] {
  return body.messages.map(({ role, content, name }) => ({
    role: role === 'developer' ? 'system' : role,
    content: typeof content === 'string' ? content : content.map((part) => part.text).join(''),
    ...(name == null ? {} : { name }),
  }));
}
