import { randomInt } from 'node:crypto';
import type { ServedAdapter } from '../../adapters/served-adapter.ts';
import { DEFAULT_RETRY_S, GenerationError } from '../../scheduler/generation.ts';
import type { EncodeOutcome, EncodeTask, TextFault } from '../../text/encode-task.ts';
import { type TextClient, TextThreadError } from '../../text/text-thread.ts';
import { ApiError } from '../errors.ts';
import type { ChatRequest } from './chat-schema.ts';
import type { CompletionRequest } from './completion-schema.ts';
import type { ParsedPrompt, ParsedRequest, ParseDeps, TextOptions } from './parsed-request.ts';
import { biasesOf } from './sampling-schema.ts';

/** Bound of the seeds that are drawn for requests without one. */
const MAX_DRAWN_SEED = 2 ** 31;
/** 2³² / golden ratio, odd: spreads the seeds of a request's choices over the whole range. */
const SEED_STRIDE = 0x9e3779b1;
/** vLLM and llama.cpp: another seed each time. */
const ANY_SEED = -1;
/** Tokens of a prompt of which only the last are kept. A body of 1 MiB has at most so many. */
export const MAX_TRUNCATED = 2 ** 20;

/** The seed of a choice. The first has the request's own, so that n does not change it, and every prompt has the same. */
export function choiceSeed(seed: number, choice: number): number {
  return choice === 0 ? seed : ((seed % MAX_DRAWN_SEED) + choice * SEED_STRIDE) % Number.MAX_SAFE_INTEGER;
}

/** What both endpoints have. */
export function parseCommon(body: CompletionRequest | ChatRequest, topLogprobs: number | undefined, deps: ParseDeps) {
  const adapter = adapterOf(body.model, deps);
  const stream = body.stream ?? false;
  const n = body.n ?? 1;
  if (stream && body.prompt_logprobs != null) {
    const message = "Invalid 'prompt_logprobs': a stream does not have them. Send stream: false.";
    throw ApiError.invalid('prompt_logprobs', message);
  }
  return {
    n,
    bestOf: n,
    seed: body.seed == null || body.seed === ANY_SEED ? randomInt(MAX_DRAWN_SEED) : body.seed,
    text: textOptions(body),
    topLogprobs,
    promptLogprobs: body.prompt_logprobs ?? undefined,
    stream,
    includeUsage: stream && (body.stream_options?.include_usage ?? false),
    usageInChunks:
      stream && (body.stream_options?.include_usage ?? false) && (body.stream_options?.continuous_usage_stats ?? false),
    returnsTokenIds: body.return_token_ids ?? false,
    namesTokensById: body.return_tokens_as_token_ids ?? false,
    generation: { ...generationOf(body, topLogprobs, deps), adapter },
    requiresCall: false,
    showsReasoning: true,
    newParser: undefined,
    route: undefined,
  } satisfies Partial<ParsedRequest>;
}

/**
 * One model is served: a request may leave its name out, and may name an adapter instead, or have one chosen by its prompt
 * (route.ts), but no other model.
 */
export function adapterOf(
  model: string | null | undefined,
  { generation: { modelId }, aliases, adapters }: Pick<ParseDeps, 'generation' | 'aliases' | 'adapters'>,
): ServedAdapter | undefined {
  if (!model || model === modelId || aliases.includes(model) || adapters?.isAuto(model)) return undefined;
  const adapter = adapters?.find(model);
  if (!adapter) throw ApiError.unknownModel(modelId);
  return adapter;
}

/** With the context that a request's adapter leaves. */
export function underAdapter(model: string | null | undefined, deps: ParseDeps): ParseDeps {
  const { generation } = deps;
  // What is chosen is known once the prompt has been read, so that it has to fit all of them.
  const under = model && deps.adapters?.isAuto(model) ? [undefined, ...deps.adapters.all] : [adapterOf(model, deps)];
  const maxContext = Math.min(...under.map((adapter) => generation.maxContextUnder(adapter)));
  if (maxContext === generation.maxContext) return deps;
  const { modelId } = generation;
  const maxContextUnder = (): number => maxContext;
  const submit: typeof generation.submit = (request) => generation.submit(request);
  return { ...deps, generation: { modelId, maxContext, maxContextUnder, submit } };
}

function textOptions(body: CompletionRequest | ChatRequest): TextOptions {
  const stop = body.stop == null ? [] : typeof body.stop === 'string' ? [body.stop] : body.stop;
  return {
    stop: stop.filter((one) => one !== ''),
    stopTokenIds: body.stop_token_ids ?? [],
    minTokens: body.min_tokens ?? 0,
    includesStop: body.include_stop_str_in_output ?? false,
    showsSpecialTokens: body.skip_special_tokens === false,
  };
}

function generationOf(
  body: CompletionRequest | ChatRequest,
  topLogprobs: number | undefined,
  { defaults, codec }: ParseDeps,
): Omit<ParsedRequest['generation'], 'adapter'> {
  const temperature = body.temperature ?? defaults.temperature;
  const topP = body.top_p ?? defaults.topP;
  const biases = biasesOf(body.logit_bias ?? {})!;
  checkIds('logit_bias', biases.keys(), codec.vocabSize);
  checkIds('stop_token_ids', body.stop_token_ids ?? [], codec.vocabSize);
  return {
    // A nucleus without mass holds only the most likely token, which is greedy decoding.
    ...(topP === 0 ? { temperature: 0, topP: 1 } : { temperature, topP }),
    topK: Math.max(0, body.top_k ?? defaults.topK ?? 0),
    minP: body.min_p ?? defaults.minP ?? 0,
    presencePenalty: body.presence_penalty ?? 0,
    frequencyPenalty: body.frequency_penalty ?? 0,
    repetitionPenalty: body.repetition_penalty ?? body.repeat_penalty ?? defaults.repetitionPenalty ?? 1,
    logitBias: biases.size > 0 ? biases : undefined,
    stopTokenIds: body.stop_token_ids ?? undefined,
    ignoreEos: body.ignore_eos ?? false,
    minTokens: body.min_tokens ?? 0,
    topLogprobs,
    trace: body.shoal?.trace ?? false,
    deviceLimit: body.shoal?.device_limit,
    speculate: body.shoal?.speculate,
  };
}

/** Throws an ApiError for an id that no token has. */
export function checkIds(param: string, ids: Iterable<number>, vocabSize: number): void {
  for (const id of ids) {
    if (id < vocabSize) continue;
    const message = `Invalid '${param}': no token has the id ${id}; the vocabulary has ${vocabSize}, from 0 on.`;
    throw ApiError.invalid(param, message);
  }
}

/** Leaves out the fields of a task that say how long its ids may be. */
type UnboundedTask = EncodeTask extends infer Task
  ? Task extends EncodeTask
    ? Omit<Task, 'maxTokens'>
    : never
  : never;

/** Which part of a prompt is kept. */
export type Kept = Pick<ChatRequest, 'truncate_prompt_tokens' | 'truncation_side'>;

/**
 * Token ids of a text or a conversation, or the part of them that is kept. Rejects with an ApiError that names the parameter, or
 * with the reason of the client's signal.
 */
export async function encode(
  task: UnboundedTask,
  param: string,
  kept: Kept,
  { generation: { maxContext }, codec }: ParseDeps,
  client: TextClient,
): Promise<Extract<EncodeOutcome, { ids: unknown }> & { list: number[] }> {
  try {
    const maxTokens = kept.truncate_prompt_tokens == null ? maxContext : MAX_TRUNCATED;
    const outcome = await codec.encode({ ...task, maxTokens } as EncodeTask, client);
    if ('ids' in outcome) return { ...outcome, list: truncated(Array.from(outcome.ids), kept, maxContext) };
    throw faultError(outcome.fault, param, maxContext);
  } catch (thrown) {
    throw thrown instanceof TextThreadError ? threadError(thrown, param) : thrown;
  }
}

/** -1 keeps what the context holds beside one token of the answer. */
export function truncated(ids: number[], kept: Kept, maxContext: number): number[] {
  const { truncate_prompt_tokens: asked, truncation_side: side } = kept;
  if (asked == null) return ids;
  const count = asked < 0 ? maxContext - 1 : asked;
  return side === 'right' ? ids.slice(0, count) : ids.slice(Math.max(0, ids.length - count));
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

/**
 * A prompt with room for its answer: `asked` tokens (-1, null: `byDefault`), or what the context leaves if that is less, as other
 * servers do. Throws an ApiError if the prompt leaves no room at all.
 */
export function fitContext(
  ids: number[],
  asked: number | null | undefined,
  byDefault: number,
  param: string,
  { generation: { maxContext } }: ParseDeps,
): ParsedPrompt {
  const room = maxContext - ids.length;
  const wanted = asked === -1 ? Number.POSITIVE_INFINITY : (asked ?? byDefault);
  if (ids.length === 0) throw ApiError.invalid(param, `Invalid '${param}': it has no tokens. Send a text.`);
  if (room < Math.min(wanted, 1)) {
    throw ApiError.contextLength(
      param,
      `This model's maximum context length is ${maxContext} tokens, and the prompt has ${ids.length}, ` +
        'which leaves no room for an answer. Shorten it, or send truncate_prompt_tokens.',
    );
  }
  return { ids, maxTokens: Math.min(wanted, room) };
}
