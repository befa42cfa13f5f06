import type { Rng } from '@shoal/model';
import { logNormal } from '../../../tools/simulate/random.ts';

/** Lengths in tokens: log-normal, rounded, within bounds. `sigma` is the deviation of their logarithm. */
export interface LengthDistribution {
  median: number;
  sigma: number;
  min: number;
  max: number;
}

/** The requests of a run and how they arrive. */
export interface Workload {
  /** Requests a second at a fixed rate (open loop), or streams that each ask again once answered. */
  arrivals: { ratePerS: number } | { streams: number };
  durationS: number;
  promptTokens: LengthDistribution;
  answerTokens: LengthDistribution;
}

/** A request and, in an open loop, the time it is sent. */
export interface PlannedRequest {
  atMs: number;
  promptTokens: number;
  answerTokens: number;
  seed: number;
}

export function drawLength(rng: Rng, distribution: LengthDistribution): number {
  const { min, max } = distribution;
  return Math.min(max, Math.max(min, Math.round(logNormal(rng, distribution))));
}

/** Arrival times of a Poisson process within `durationS`, ascending: gaps are exponential. */
export function poissonArrivalsMs(rng: Rng, ratePerS: number, durationS: number): number[] {
  const arrivals: number[] = [];
  const gapMs = (): number => (-Math.log(1 - rng()) / ratePerS) * 1000;
  for (let atMs = gapMs(); atMs < durationS * 1000; atMs += gapMs()) arrivals.push(atMs);
  return arrivals;
}

/** Requests for one closed-loop stream: more than it could ever send. */
const MAX_REQUESTS_PER_STREAM_AND_S = 50;

/** All requests of a run; in a closed loop by stream, sent one after the other until time is up. */
export function planRequests(rng: Rng, workload: Workload): PlannedRequest[][] {
  const { arrivals, durationS, promptTokens, answerTokens } = workload;
  const request = (atMs: number): PlannedRequest => ({
    atMs,
    promptTokens: drawLength(rng, promptTokens),
    answerTokens: drawLength(rng, answerTokens),
    seed: Math.floor(rng() * 2 ** 31),
  });
  if ('ratePerS' in arrivals) {
    return poissonArrivalsMs(rng, arrivals.ratePerS, durationS).map((atMs) => [request(atMs)]);
  }
  const perStream = Math.ceil(durationS * MAX_REQUESTS_PER_STREAM_AND_S);
  return Array.from({ length: arrivals.streams }, () => Array.from({ length: perStream }, () => request(0)));
}

/** What determines the least times that the network and the coordinator's own work allow. */
export interface FloorInputs {
  lapsPerPass: number;
  roundTripMs: number;
  /** One pass of a single stream with no round trip, in the same run: engine, HTTP, the tabs' kernels. */
  ownMs: number;
  /** Tokens that a pass gives a stream: more than one if drafts were right. */
  tokensPerPass: number;
  /** Prompt rows that a pass takes. */
  prefillRows: number;
}

/** Least time between a stream's tokens of one pass and those of the next. */
export function floorGapMs({ lapsPerPass, roundTripMs, ownMs }: Omit<FloorInputs, 'tokensPerPass'>): number {
  return lapsPerPass * roundTripMs + ownMs;
}

/** Least time from a request to its first token: one pass for each chunk of the prompt. */
export function floorTtftMs(inputs: FloorInputs, promptTokens: number): number {
  return Math.ceil(promptTokens / inputs.prefillRows) * floorGapMs(inputs);
}

/**
 * The highest possible rate of tokens a second: an open loop gives no more than is asked for, a closed loop at most one
 * pass's tokens for each stream in the time of one pass.
 */
export function ceilingTokensPerS(workload: Workload, inputs: FloorInputs, answeredTokens: number): number {
  const { arrivals, durationS } = workload;
  if ('ratePerS' in arrivals) return answeredTokens / durationS;
  return (1000 * arrivals.streams * inputs.tokensPerPass) / floorGapMs(inputs);
}

/** When the pieces of an answer's text arrived. */
export interface AnswerTimes {
  sentMs: number;
  ttftMs?: number;
  gapsMs: readonly number[];
  totalMs: number;
  tokens: number;
}

/** Counts tokens and open answers within the first `untilMs`, to leave out the slow end with fewer requests. */
export function within(answers: readonly AnswerTimes[], untilMs: number): { tokens: number; underWay: number } {
  let tokens = 0;
  let underWayMs = 0;
  for (const { sentMs, ttftMs, gapsMs, totalMs, tokens: all } of answers) {
    underWayMs += Math.max(0, Math.min(untilMs, sentMs + totalMs) - sentMs);
    if (ttftMs === undefined) continue;
    let atMs = sentMs + ttftMs;
    let pieces = atMs < untilMs ? 1 : 0;
    for (const gapMs of gapsMs) if ((atMs += gapMs) < untilMs) pieces++;
    tokens += (all * pieces) / (gapsMs.length + 1);
  }
  return { tokens, underWay: underWayMs / untilMs };
}
