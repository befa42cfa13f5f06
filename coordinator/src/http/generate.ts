import { randomUUID } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { DeviceLimitUsage, GenerationEvent } from '../engine/contract.ts';
import { runChoice, type ChoiceDelta } from './choice.ts';
import type { HttpDeps, HttpLimits } from './deps.ts';
import { toApiError } from './errors.ts';
import { describeFailure } from './log.ts';
import type { HttpMetrics } from './metrics.ts';
import { choiceSeed, type Plan, type PromptPlan } from './plan.ts';
import type { Usage } from './response-schema.ts';
import { HangUpError, RequestScope } from './scope.ts';
import type { AnswerShape } from './shape.ts';
import { EventStream, ReaderGoneError } from './sse.ts';

export interface GenerateDeps extends Pick<HttpDeps, 'engine' | 'codec' | 'access'> {
  limits: HttpLimits;
  metrics: HttpMetrics;
  systemFingerprint: string;
}

/**
 * Submits a plan's choices, and answers with one document or a stream. Whatever happens, every generation is freed.
 * `onToken` is called for each token generated.
 */
export async function answer(
  plan: Plan,
  shape: AnswerShape,
  request: FastifyRequest,
  reply: FastifyReply,
  deps: GenerateDeps,
  onToken: () => void = () => {},
): Promise<void> {
  const scope = new RequestScope(request.raw.socket, deps.limits.answerDeadlineMs);
  try {
    scope.signal.throwIfAborted();
    const run = new Run(plan, shape, scope, deps, onToken);
    if (plan.stream) await streamAnswer(run, request, reply, deps.limits);
    else await reply.send(await run.whole());
  } catch (thrown) {
    if (!scope.hungUp) throw scope.cause(thrown);
    // Nobody is left to read an answer.
    if (!reply.sent) reply.hijack();
    reply.raw.destroy();
  } finally {
    if (scope.hungUp) deps.metrics.hangUps.inc();
    scope.close();
  }
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

/** All choices of one request. Construction submits them all or throws; a refused one takes those before it back. */
class Run {
  readonly scope: RequestScope;
  readonly deps: GenerateDeps;
  readonly #plan: Plan;
  readonly #shape: AnswerShape;
  readonly #choices: ChoiceRun[];
  readonly #head: { id: string; created: number; model: string; system_fingerprint: string };
  readonly #onToken: () => void;
  #completionTokens = 0;
  /** By choice: what its device limit has done so far. */
  readonly #limited = new Map<number, DeviceLimitUsage>();

  constructor(plan: Plan, shape: AnswerShape, scope: RequestScope, deps: GenerateDeps, onToken: () => void) {
    this.scope = scope;
    this.deps = deps;
    this.#plan = plan;
    this.#shape = shape;
    this.#onToken = onToken;
    this.#head = {
      id: `${shape.idPrefix}-${randomUUID().replaceAll('-', '')}`,
      created: Math.floor(Date.now() / 1000),
      model: deps.engine.modelId,
      system_fingerprint: deps.systemFingerprint,
    };
    this.#choices = plan.prompts.flatMap((prompt, promptIndex) =>
      Array.from({ length: plan.n }, (_, choice) => this.#start(prompt, promptIndex * plan.n + choice, choice)),
    );
  }

  async whole(): Promise<object> {
    const choices = await this.#all(async ({ index, deltas }) => {
      const collected: ChoiceDelta[] = [];
      for await (const delta of deltas) collected.push(delta);
      return this.#shape.whole(index, collected, this.#plan, this.deps.codec);
    });
    return { ...this.#head, object: this.#shape.object, choices, usage: this.#usage() };
  }

  async stream(send: (chunk: object) => Promise<void>): Promise<void> {
    // With include_usage, OpenAI's chunks before the last say `usage: null`.
    const usage = this.#plan.includeUsage ? { usage: null } : {};
    const chunk = (choices: object[]) => ({ ...this.#head, object: this.#shape.chunkObject, choices, ...usage });
    for (const { index } of this.#choices) {
      const first = this.#shape.firstChunk(index);
      if (first) await send(chunk([first]));
    }
    await this.#all(async ({ index, deltas }) => {
      for await (const delta of deltas) {
        await send(chunk([this.#shape.chunk(index, delta, this.#plan, this.deps.codec)]));
      }
    });
    if (this.#plan.includeUsage) await send({ ...chunk([]), usage: this.#usage() });
  }

  /** The first failure aborts the others, and is the one that counts. */
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

  #start(prompt: PromptPlan, index: number, choice: number): ChoiceRun {
    const { codec } = this.deps;
    const { stop, echo } = this.#plan;
    const promptLogprobs = echo && this.#plan.topLogprobs !== undefined;
    const events = this.#submit(prompt, index, choice, promptLogprobs);
    const deltas = runChoice(events, {
      codec,
      stop,
      ...(echo ? { echoIds: prompt.ids } : {}),
      promptLogprobs,
      onLimited: (usage) => this.#limited.set(index, usage),
      onToken: () => {
        this.#completionTokens++;
        this.#onToken();
      },
    });
    return { index, deltas };
  }

  #submit(prompt: PromptPlan, index: number, choice: number, promptLogprobs: boolean): AsyncIterable<GenerationEvent> {
    // With nothing to generate and nothing to score, there is no work for the engine.
    if (prompt.maxTokens === 0 && !promptLogprobs) return nothing();
    const { seed, temperature, topP, topLogprobs, trace, deviceLimit, client, cacheScope } = this.#plan;
    return this.deps.engine.submit({
      id: `${this.#head.id}-${index}`,
      promptIds: prompt.ids,
      maxTokens: prompt.maxTokens,
      temperature,
      topP,
      seed: choiceSeed(seed, choice),
      ...(topLogprobs === undefined ? {} : { topLogprobs }),
      promptLogprobs,
      trace,
      ...(deviceLimit === undefined ? {} : { deviceLimit }),
      ...(client === undefined ? {} : { client }),
      ...(cacheScope === undefined ? {} : { cacheScope }),
      signal: this.scope.signal,
    });
  }

  #limitUsage(): Pick<Usage, 'shoal'> {
    const limited = [...this.#limited.values()];
    const [first] = limited;
    if (first === undefined) return {};
    const sum = (read: (usage: DeviceLimitUsage) => number): number => limited.reduce((all, one) => all + read(one), 0);
    return {
      shoal: {
        device_limit: first.maxPeers,
        token_layers: sum((one) => one.tokenLayers),
        changed: sum((one) => one.changed),
      },
    };
  }

  #usage(): Usage {
    // OpenAI counts a prompt once, however many choices it has.
    const promptTokens = this.#plan.prompts.reduce((sum, prompt) => sum + prompt.ids.length, 0);
    return {
      prompt_tokens: promptTokens,
      completion_tokens: this.#completionTokens,
      total_tokens: promptTokens + this.#completionTokens,
      ...this.#limitUsage(),
    };
  }
}

async function* nothing(): AsyncGenerator<GenerationEvent> {
  yield { type: 'finish', reason: 'length' };
}
