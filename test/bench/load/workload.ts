import type { Rng } from '@shoal/model';
import { logNormal } from '../../../tools/simulate/random.ts';

/** Lengths in tokens: log-normal, rounded, within bounds. `sigma` is that of ln. */
export interface LengthDistribution {
  median: number;
  sigma: number;
  min: number;
  max: number;
}

/** What comes, and how. */
export interface Workload {
  /** Requests a second that come whatever the server does (open loop), or streams each of which asks again when it is answered. */
  arrivals: { ratePerS: number } | { streams: number };
  durationS: number;
  promptTokens: LengthDistribution;
  answerTokens: LengthDistribution;
}

/** One request, and in an open loop its moment. */
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

/** Arrivals of a Poisson process within so many seconds, ascending: gaps are exponential. */
export function poissonArrivalsMs(rng: Rng, ratePerS: number, durationS: number): number[] {
  const arrivals: number[] = [];
  const gapMs = (): number => (-Math.log(1 - rng()) / ratePerS) * 1000;
  for (let atMs = gapMs(); atMs < durationS * 1000; atMs += gapMs()) arrivals.push(atMs);
  return arrivals;
}

/** Requests for one closed-loop stream: more than it could get through. */
const MAX_REQUESTS_PER_STREAM_AND_S = 50;

/** All requests of a run; in a closed loop by stream, asked one after the other until time is up. */
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

/** What the network and the coordinator's own work leave possible at the least. */
export interface FloorInputs {
  lapsPerPass: number;
  roundTripMs: number;
  /** Of one pass of one stream with no round trip, in the same run: engine, HTTP, the tabs' kernels. */
  ownMs: number;
  /** That a pass gives a stream: more than one where drafts were right. */
  tokensPerPass: number;
  /** Prompt rows that a pass takes. */
  prefillRows: number;
}

/** Between a stream's tokens of one pass and those of the next. */
export function floorGapMs({ lapsPerPass, roundTripMs, ownMs }: Omit<FloorInputs, 'tokensPerPass'>): number {
  return lapsPerPass * roundTripMs + ownMs;
}

/** From a request to its first token: a pass for each chunk of the prompt. */
export function floorTtftMs(inputs: FloorInputs, promptTokens: number): number {
  return Math.ceil(promptTokens / inputs.prefillRows) * floorGapMs(inputs);
}

/**
 * Tokens a second that cannot be exceeded: an open loop gives no more than it is asked for, a closed one those of a pass for
 * each stream in the time of one.
 */
export function ceilingTokensPerS(workload: Workload, inputs: FloorInputs, answeredTokens: number): number {
  const { arrivals, durationS } = workload;
  if ('ratePerS' in arrivals) return answeredTokens / durationS;
  return (1000 * arrivals.streams * inputs.tokensPerPass) / floorGapMs(inputs);
}

/** When an answer's text came. */
export interface AnswerTimes {
  sentMs: number;
  ttftMs?: number;
  gapsMs: readonly number[];
  totalMs: number;
  tokens: number;
}

/** What fell into the first `untilMs` of a run, so that its slow end, when fewer ask, doesn't count: tokens, and answers under way. */
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
