import { randomUUID } from 'node:crypto';
import type { TokenAnswer } from '@shoal/model';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { GenerationEvent } from '../scheduler/generation.ts';
import { type AnswerDelta, runAnswer, wholeAnswer } from './answer.ts';
import { bestChoices } from './best-choices.ts';
import { runChoice, type ChoiceDetails } from './choice.ts';
import type { HttpDeps, HttpLimits } from './deps.ts';
import { type ApiError, describeFailure, toApiError } from './errors.ts';
import type { HttpMetrics } from './metrics.ts';
import { choiceSeed } from './requests/parse-common.ts';
import type { ParsedPrompt, ParsedRequest } from './requests/parsed-request.ts';
import type { Usage } from './response-schema.ts';
import { HangUpError, RequestScope } from './scope.ts';
import type { AnswerShape, ServerEvent, ShapeContext, WholeChoice } from './shapes/shape.ts';
import { EventStream, ReaderGoneError } from './sse.ts';
import { usageOf } from './usage.ts';

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
    await run.stream((event) => stream.send(event));
    stream.end();
  } catch (thrown) {
    const cause = run.scope.cause(thrown);
    if (cause instanceof HangUpError || cause instanceof ReaderGoneError) {
      if (cause instanceof ReaderGoneError && cause.reason === 'stalled') run.deps.metrics.stalledReaders.inc();
      stream.abandon();
      return;
    }
    const error = toApiError(cause);
    if (error.status >= 500) request.log.error(describeFailure(cause), 'stream ended early');
    stream.end(run.failed(error));
  }
}

interface ChoiceRun {
  index: number;
  deltas: AsyncGenerator<AnswerDelta>;
  promptLogprobs: readonly TokenAnswer[] | undefined;
}

/** All choices of one request. The constructor submits them all, or throws and the scope cancels those before. */
class Run {
  readonly scope: RequestScope;
  readonly deps: GenerateDeps;
  readonly #parsed: ParsedRequest;
  readonly #shape: AnswerShape;
  readonly #choices: ChoiceRun[];
  readonly #context: ShapeContext;
  readonly #onToken: () => void;
  readonly #counts = { completionTokens: 0, reasoningTokens: 0 };
  #streamed: ReturnType<AnswerShape['stream']> | undefined;
  /** The latest of each choice. */
  readonly #details = new Map<number, ChoiceDetails>();

  constructor(parsed: ParsedRequest, shape: AnswerShape, scope: RequestScope, deps: GenerateDeps, onToken: () => void) {
    this.scope = scope;
    this.deps = deps;
    this.#parsed = parsed;
    this.#shape = shape;
    this.#onToken = onToken;
    const head = {
      id: `${shape.idPrefix}${randomUUID().replaceAll('-', '')}`,
      created: Math.floor(Date.now() / 1000),
      model: parsed.generation.adapter?.name ?? deps.generation.modelId,
      system_fingerprint: deps.systemFingerprint,
    };
    this.#context = { head, parsed, codec: deps.codec };
    const { bestOf } = parsed;
    this.#choices = parsed.prompts.flatMap((prompt, promptIndex) =>
      Array.from({ length: bestOf }, (_, choice) => this.#start(prompt, promptIndex * bestOf + choice, choice)),
    );
  }

  async whole(): Promise<object> {
    const all = await this.#all(async (choice): Promise<WholeChoice> => {
      const answer = await wholeAnswer(choice.deltas);
      return { index: choice.index, answer, promptLogprobs: choice.promptLogprobs };
    });
    return this.#shape.whole(this.#context, bestChoices(all, this.#parsed), this.#usage());
  }

  async stream(send: (event: ServerEvent) => Promise<void>): Promise<void> {
    const shape = (this.#streamed ??= this.#shape.stream(this.#context));
    const sendAll = async (events: readonly ServerEvent[]): Promise<void> => {
      for (const event of events) await send(event);
    };
    await sendAll(shape.open(this.#choices.length, this.#promptTokens));
    await this.#all(async ({ index, deltas }) => {
      for await (const delta of deltas) await sendAll(shape.delta(index, delta, () => this.#usage()));
    });
    await sendAll(shape.close(this.#usage()));
  }

  /** The last events of a stream that has failed. */
  failed(error: ApiError): ServerEvent[] {
    this.#streamed ??= this.#shape.stream(this.#context);
    return this.#streamed.fail(error);
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
    const { echo, text, requiresCall, showsReasoning, newParser, generation, promptLogprobs: listed } = this.#parsed;
    const promptLogprobs = (echo && generation.topLogprobs !== undefined) || listed !== undefined;
    const run: ChoiceRun = { index, promptLogprobs: undefined, deltas: undefined! };
    const pieces = runChoice(this.#submit(prompt, index, choice, promptLogprobs), {
      codec: this.deps.codec,
      text,
      echoIds: echo ? prompt.ids : undefined,
      promptLogprobs,
      beginsText: prompt.answerPrefix !== undefined,
      onPromptLogprobs: (tokens) => {
        if (listed !== undefined) run.promptLogprobs = tokens;
      },
      onDetails: (details) => this.#details.set(index, details),
      onToken: () => {
        this.#counts.completionTokens++;
        this.#onToken();
      },
    });
    run.deltas = runAnswer(pieces, {
      parser: newParser?.(),
      showsSpecialTokens: text.showsSpecialTokens,
      requiresCall,
      showsReasoning,
      onReasoning: (tokens) => (this.#counts.reasoningTokens += tokens),
    });
    return run;
  }

  #submit(
    prompt: ParsedPrompt,
    index: number,
    choice: number,
    promptLogprobs: boolean,
  ): AsyncIterable<GenerationEvent> {
    // With nothing to generate and nothing to score there is nothing to submit.
    if (prompt.maxTokens === 0 && !promptLogprobs) return nothing();
    const { seed, generation, openConstraint, promptLogprobs: listed } = this.#parsed;
    return this.deps.generation.submit({
      ...generation,
      id: `${this.#context.head.id}-${index}`,
      promptIds: prompt.answerPrefix ? [...prompt.ids, ...prompt.answerPrefix] : prompt.ids,
      sourceLength: prompt.answerPrefix && prompt.ids.length,
      maxTokens: prompt.maxTokens,
      seed: choiceSeed(seed, choice),
      promptLogprobs,
      promptTopLogprobs: Math.max(listed ?? 0, generation.topLogprobs ?? 0),
      constraint: openConstraint?.(),
      signal: this.scope.signal,
    });
  }

  get #promptTokens(): number {
    // OpenAI counts a prompt once, however many choices it has.
    return this.#parsed.prompts.reduce((sum, prompt) => sum + prompt.ids.length, 0);
  }

  #usage(): Usage {
    return usageOf({ promptTokens: this.#promptTokens, ...this.#counts, choices: [...this.#details.values()] });
  }
}

async function* nothing(): AsyncGenerator<GenerationEvent> {
  yield { type: 'finish', reason: 'length' };
}
