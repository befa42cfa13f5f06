import type { HistoryPoint } from '@shoal/protocol';
import { waitQuantile } from '../base/wait-histogram.ts';
import { addSample, emptySample, type Sample } from './sample.ts';

/** What was measured in a step of one coordinator, or of several together. */
export interface Measured {
  /** Start of the row's own step, in epoch milliseconds. */
  atMs: number;
  member: string;
  sample: Sample;
}

/**
 * A point for each step from `fromMs` on, both a multiple of the step; null where nothing was measured. `stepMs` of `nowMs` is not
 * over yet.
 */
export function pointsOf(
  rows: readonly Measured[],
  { fromMs, toMs, stepMs, nowMs }: { fromMs: number; toMs: number; stepMs: number; nowMs: number },
): (HistoryPoint | null)[] {
  const steps = Array.from({ length: Math.round((toMs - fromMs) / stepMs) }, () => new Map<string, Sample>());
  for (const { atMs, member, sample } of rows) {
    const step = steps[Math.floor((atMs - fromMs) / stepMs)];
    if (!step) continue;
    const known = step.get(member) ?? emptySample();
    step.set(member, addSample(known, sample));
  }
  return steps.map((members, i) => {
    const atMs = fromMs + i * stepMs;
    return pointOf(atMs, [...members.values()], Math.min(stepMs, Math.max(1, nowMs - atMs)));
  });
}

/** What coordinators did beside each other: levels and rates are added, coverage is what each of them sees of the same swarm. */
function pointOf(atMs: number, members: readonly Sample[], lengthMs: number): HistoryPoint | null {
  const measured = members.filter(({ spanMs }) => spanMs > 0);
  if (measured.length === 0) return null;
  const all = measured.reduce((sum, sample) => addSample(sum, sample), emptySample());
  // The one that was there longest has measured most of the step.
  const longestMs = Math.max(...measured.map(({ spanMs }) => spanMs));
  const perSecond = (name: 'tokens' | 'laps' | 'bytes'): number => (all[name] / longestMs) * 1_000;
  const mean = (name: 'streamMs' | 'queuedMs' | 'tabMs'): number => all[name] / longestMs;
  return {
    atMs,
    measuredShare: Math.min(1, longestMs / lengthMs),
    tokensPerSecond: perSecond('tokens'),
    streams: mean('streamMs'),
    queued: mean('queuedMs'),
    tabs: mean('tabMs'),
    coverage: all.expertMs === 0 ? null : all.coveredMs / all.expertMs,
    firstTokenMsP50: waitQuantile(all.firstTokens, 0.5),
    firstTokenMsP95: waitQuantile(all.firstTokens, 0.95),
    lapsPerSecond: perSecond('laps'),
    bytesPerSecond: perSecond('bytes'),
    fallbackShare: all.work === 0 ? null : all.fallback / all.work,
    errors: all.errors,
    refused: all.refused,
  };
}
