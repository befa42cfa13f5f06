import { randomUUID } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { GenerationEvent } from '../scheduler/generation.ts';
import { runChoice, type ChoiceDelta, type ChoiceDetails } from './choice.ts';
import type { HttpDeps, HttpLimits } from './deps.ts';
import { describeFailure, toApiError } from './errors.ts';
import type { HttpMetrics } from './metrics.ts';
import { choiceSeed, type ParsedRequest, type ParsedPrompt } from './parsed-request.ts';
import type { Usage } from './response-schema.ts';
import { HangUpError, RequestScope } from './scope.ts';
import type { AnswerShape } from './shape.ts';
import { EventStream, ReaderGoneError } from './sse.ts';

export interface GenerateDeps extends Pick<HttpDeps, 'generation' | 'codec' | 'access'> {
  limits: HttpLimits;
  metrics: HttpMetrics;
  systemFingerprint: string;
}

/**
 * Runs `work`, which reads and answers a request, in a scope that ends when the client hangs up or the deadline passes. Everything
 * that `work` started for the request is freed in the end.
 */
export async function withinScope(
  request: FastifyRequest,
  reply: FastifyReply,
  { limits, metrics }: GenerateDeps,
  work: (scope: RequestScope) => Promise<void>,
): Promise<void> {
  const scope = new RequestScope(request.raw.socket, limits.answerDeadlineMs);
  try {
    scope.signal.throwIfAborted();
    await work(scope);
  } catch (thrown) {
    if (!scope.hungUp) throw scope.cause(thrown);
    // The client is gone, so there is no answer to send.
    if (!reply.sent) reply.hijack();
    reply.raw.destroy();
  } finally {
    if (scope.hungUp) metrics.hangUps.inc();
    scope.close();
  }
}

/** Submits a request's choices and answers with one document or a stream. */
export async function answer(
  parsed: ParsedRequest,
  shape: AnswerShape,
  scope: RequestScope,
  request: FastifyRequest,
  reply: FastifyReply,
  deps: GenerateDeps,
  onToken: () => void = () => {},
): Promise<void> {
  const run = new Run(parsed, shape, scope, deps, onToken);
  if (parsed.stream) await streamAnswer(run, request, reply, deps.limits);
  else await reply.send(await run.whole());
}

async function streamAnswer(run: Run, request: FastifyRequest, reply: FastifyReply, limits: HttpLimits): Promise<void> {
  reply.hijack();
  const stream = new EventStream(reply.raw, {
    headers: reply.getHeaders(),
    keepAliveMs: limits.sseKeepAliveMs,
    stallMs: limits.stallMs,
  });
  try {
    await run.stream((chunk) => stream.send(chunk));
    stream.done();
  } catch (thrown) {
    const cause = run.scope.cause(thrown);
    if (cause instanceof HangUpError || cause instanceof ReaderGoneError) {
      if (cause instanceof ReaderGoneError && cause.reason === 'stalled') run.deps.metrics.stalledReaders.inc();
      stream.abandon();
      return;
    }
    const error = toApiError(cause);
    if (error.status >= 500) request.log.error(describeFailure(cause), 'stream ended early');
    stream.fail(error.body);
  }
}

interface ChoiceRun {
  index: number;
  deltas: AsyncGenerator<ChoiceDelta>;
}

/** All choices of one request. The constructor submits them all, or throws and the scope cancels those before. */
class Run {
  readonly scope: RequestScope;
  readonly deps: GenerateDeps;
  readonly #parsed: ParsedRequest;
  readonly #shape: AnswerShape;
  readonly #choices: ChoiceRun[];
  readonly #head: { id: string; created: number; model: string; system_fingerprint: string };
  readonly #onToken: () => void;
  #completionTokens = 0;
  /** The latest of each choice. */
  readonly #details = new Map<number, ChoiceDetails>();

  constructor(parsed: ParsedRequest, shape: AnswerShape, scope: RequestScope, deps: GenerateDeps, onToken: () => void) {
    this.scope = scope;
    this.deps = deps;
    this.#parsed = parsed;
    this.#shape = shape;
    this.#onToken = onToken;
    this.#head = {
      id: `${shape.idPrefix}-${randomUUID().replaceAll('-', '')}`,
      created: Math.floor(Date.now() / 1000),
      model: deps.generation.modelId,
      system_fingerprint: deps.systemFingerprint,
    };
    this.#choices = parsed.prompts.flatMap((prompt, promptIndex) =>
      Array.from({ length: parsed.n }, (_, choice) => this.#start(prompt, promptIndex * parsed.n + choice, choice)),
    );
  }

  async whole(): Promise<object> {
    const choices = await this.#all(async ({ index, deltas }) => {
      const collected: ChoiceDelta[] = [];
      for await (const delta of deltas) collected.push(delta);
      return this.#shape.whole(index, collected, this.#parsed.generation, this.deps.codec);
    });
    return { ...this.#head, object: this.#shape.object, choices, usage: this.#usage() };
  }

  async stream(send: (chunk: object) => Promise<void>): Promise<void> {
    // With include_usage, OpenAI's chunks before the last say `usage: null`.
    const usage = this.#parsed.includeUsage ? { usage: null } : {};
    const chunk = (choices: object[]) => ({ ...this.#head, object: this.#shape.chunkObject, choices, ...usage });
    for (const { index } of this.#choices) {
      const first = this.#shape.firstChunk(index);
      if (first) await send(chunk([first]));
    }
    await this.#all(async ({ index, deltas }) => {
      for await (const delta of deltas) {
        await send(chunk([this.#shape.chunk(index, delta, this.#parsed.generation, this.deps.codec)]));
      }
    });
    if (this.#parsed.includeUsage) await send({ ...chunk([]), usage: this.#usage() });
  }

  /** Runs `work` for all choices. The first failure aborts the others and is the one reported. */
  #all<T>(work: (choice: ChoiceRun) => Promise<T>): Promise<T[]> {
    let first: { thrown: unknown } | undefined;
    const guarded = this.#choices.map(async (choice) => {
      try {
        return await work(choice);
      } catch (thrown) {
        first ??= { thrown };
        this.scope.abort(thrown instanceof Error ? thrown : new Error('generation failed'));
        throw first.thrown;
      }
    });
    return Promise.all(guarded);
  }

  #start(prompt: ParsedPrompt, index: number, choice: number): ChoiceRun {
    const { codec } = this.deps;
    const { stop, echo } = this.#parsed;
    const promptLogprobs = echo && this.#parsed.generation.topLogprobs !== undefined;
    const events = this.#submit(prompt, index, choice, promptLogprobs);
    const deltas = runChoice(events, {
      codec,
      stop,
      echoIds: echo ? prompt.ids : undefined,
      promptLogprobs,
      onDetails: (details) => this.#details.set(index, details),
      onToken: () => {
        this.#completionTokens++;
        this.#onToken();
      },
    });
    return { index, deltas };
  }

  #submit(
    prompt: ParsedPrompt,
    index: number,
    choice: number,
    promptLogprobs: boolean,
  ): AsyncIterable<GenerationEvent> {
    // With nothing to generate and nothing to score there is nothing to submit.
    if (prompt.maxTokens === 0 && !promptLogprobs) return nothing();
    const { seed, generation } = this.#parsed;
    return this.deps.generation.submit({
      ...generation,
      id: `${this.#head.id}-${index}`,
      promptIds: prompt.ids,
      maxTokens: prompt.maxTokens,
      seed: choiceSeed(seed, choice),
      promptLogprobs,
      signal: this.scope.signal,
    });
  }

  #usage(): Usage {
    // OpenAI counts a prompt once, however many choices it has.
    const promptTokens = this.#parsed.prompts.reduce((sum, prompt) => sum + prompt.ids.length, 0);
    return {
      prompt_tokens: promptTokens,
      completion_tokens: this.#completionTokens,
      total_tokens: promptTokens + this.#completionTokens,
      ...detailsOf([...this.#details.values()], this.#completionTokens),
    };
  }
}

/** The details of all choices together, for `usage`. */
function detailsOf(
  choices: readonly ChoiceDetails[],
  completionTokens: number,
): Pick<Usage, 'completion_tokens_details' | 'shoal'> {
  const limited = choices.flatMap(({ deviceLimit }) => deviceLimit ?? []);
  const drafted = choices.flatMap(({ speculation }) => speculation ?? []);
  if (limited.length + drafted.length === 0) return {};
  const sum = <T>(of: readonly T[], read: (one: T) => number): number => of.reduce((all, one) => all + read(one), 0);
  const accepted = sum(drafted, (one) => one.accepted);
  const all = sum(drafted, (one) => one.drafted);
  const laps = sum(drafted, (one) => one.laps);
  return {
    ...(drafted.length > 0 && {
      completion_tokens_details: { accepted_prediction_tokens: accepted, rejected_prediction_tokens: all - accepted },
    }),
    shoal: {
      ...(limited.length > 0 && {
        device_limit: limited[0]!.maxPeers,
        token_layers: sum(limited, (one) => one.tokenLayers),
        changed: sum(limited, (one) => one.changed),
      }),
      ...(drafted.length > 0 && {
        drafted: all,
        passes: sum(drafted, (one) => one.passes),
        ...(completionTokens > 0 && { laps_per_token: laps / completionTokens }),
      }),
    },
  };
}

async function* nothing(): AsyncGenerator<GenerationEvent> {
  yield { type: 'finish', reason: 'length' };
}
