import type { RequestView } from '@shoal/protocol';
import type { GenerationError } from '../scheduler/generation.ts';
import type { EncoderJob } from '../scheduler/encoder/encoder-jobs.ts';
import type { Sequence } from '../scheduler/sequence.ts';
import type { Outcome } from '../scheduler/watch-request.ts';

/** Ended requests that the console still shows: so many at most, for so long. */
const MAX_ENDED = 200;
const KEPT_MS = 15 * 60_000;

/** What the scheduler has of requests for answers. */
interface Running {
  modelId: string;
  now(): number;
  running: readonly Sequence[];
  queued: readonly Sequence[];
}

/** Requests under way, as the scheduler has them, and those that ended lately, with what came of them. */
export class RequestBook {
  readonly #ended: { view: RequestView; atMs: number }[] = [];

  /** Of an answer; `nowMs` is on the scheduler's clock, as that of the sequence. */
  answered(
    outcome: Outcome,
    sequence: Sequence,
    error: GenerationError | undefined,
    model: string,
    nowMs: number,
  ): void {
    const hasReader = !sequence.request.signal.aborted;
    this.#end({ ...ofSequence(sequence, model, nowMs), ...endOf(outcome, error, hasReader) }, nowMs);
  }

  embedded(outcome: Outcome, job: EncoderJob, error: GenerationError | undefined, model: string, nowMs: number): void {
    this.#end({ ...ofJob(job, model, nowMs), ...endOf(outcome, error, false) }, nowMs);
  }

  /** Those under way, then the ended ones, the latest first. */
  views(scheduler: Running, jobs: readonly EncoderJob[] | undefined): RequestView[] {
    const nowMs = scheduler.now();
    const { modelId } = scheduler;
    while (this.#ended.length > 0 && nowMs - this.#ended[0]!.atMs > KEPT_MS) this.#ended.shift();
    const underWay = jobs
      ? jobs.map((job) => ofJob(job, modelId, nowMs))
      : [...scheduler.running, ...scheduler.queued].map((sequence) => ofSequence(sequence, modelId, nowMs));
    const ended = this.#ended.map(({ view, atMs }) => ({ ...view, endedAgoMs: Math.round(nowMs - atMs) }));
    return [...underWay, ...ended.toReversed()];
  }

  #end(view: RequestView, atMs: number): void {
    this.#ended.push({ view: { ...view, endedAgoMs: 0 }, atMs });
    if (this.#ended.length > MAX_ENDED) this.#ended.shift();
  }
}

function ofSequence(sequence: Sequence, modelId: string, nowMs: number): RequestView {
  const { request, state, completionTokens, speculation, createdMs, firstTokensMs } = sequence;
  return {
    id: request.id,
    client: request.client ?? '',
    model: request.adapter?.name ?? modelId,
    state,
    promptTokens: request.promptIds.length,
    completionTokens,
    maxTokens: request.maxTokens,
    drafted: speculation?.usage.drafted ?? 0,
    accepted: speculation?.usage.accepted ?? 0,
    firstTokenMs: firstTokensMs === undefined ? null : Math.round(firstTokensMs - createdMs),
    ageMs: Math.round(nowMs - createdMs),
    endedAgoMs: null,
  };
}

/** Requests for embeddings, whose tokens are all of a prompt's kind. */
function ofJob({ id, client, taken, tokens, createdMs }: EncoderJob, modelId: string, nowMs: number): RequestView {
  return {
    id,
    client,
    model: modelId,
    state: taken === 0 ? 'queued' : 'prefill',
    promptTokens: tokens,
    completionTokens: 0,
    maxTokens: 0,
    drafted: 0,
    accepted: 0,
    firstTokenMs: null,
    ageMs: Math.round(nowMs - createdMs),
    endedAgoMs: null,
  };
}

/** Whoever reads an answer stops doing so at a stop string, which ends it well. */
function endOf(
  outcome: Outcome,
  error: GenerationError | undefined,
  hasReader: boolean,
): Pick<RequestView, 'state' | 'reason'> {
  if (error?.reason === 'stopped') return { state: 'cancelled', reason: error.message };
  if (outcome === 'failed') return { state: 'failed', reason: error?.message ?? 'for an unknown reason' };
  if (outcome === 'finished' || hasReader) return { state: 'finished' };
  return { state: 'cancelled', reason: 'Its client went away.' };
}
