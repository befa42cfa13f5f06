import type { HistoryStore } from './history.ts';
import { sumOf } from './history.ts';
import type { Measured } from './points.ts';
import { addSample, emptySample, KEPT_S, type Sample, STEPS_S, type StepS } from './sample.ts';

/** Keeps the samples of this process, for as long as it runs. */
export class MemoryHistory implements HistoryStore {
  readonly kept = 'process';
  readonly #member: string;
  /** By step: rows by their start, oldest first. */
  readonly #rows: Record<StepS, Map<number, Sample>> = { 60: new Map(), 3600: new Map(), 86400: new Map() };

  constructor(member: string) {
    this.#member = member;
  }

  add(atMs: number, sample: Sample): void {
    for (const stepS of STEPS_S) {
      const rows = this.#rows[stepS];
      const startMs = startOf(atMs, stepS);
      const known = rows.get(startMs);
      if (known) addSample(known, sample);
      else rows.set(startMs, addSample(emptySample(), sample));
      while (rows.size > KEPT_S[stepS] / stepS) rows.delete(rows.keys().next().value!);
    }
  }

  read(stepS: StepS, fromMs: number, toMs: number): Promise<Measured[]> {
    return Promise.resolve(this.#all(stepS).filter(({ atMs }) => atMs >= fromMs && atMs < toMs));
  }

  total(): Promise<{ sinceMs: number | null; sample: Sample }> {
    const days = this.#all(86_400);
    return Promise.resolve({ sinceMs: days[0]?.atMs ?? null, sample: sumOf(days) });
  }

  #all(stepS: StepS): Measured[] {
    return [...this.#rows[stepS]].map(([atMs, sample]) => ({ atMs, member: this.#member, sample }));
  }
}

/** The start of the step that a time is in: days begin at midnight in UTC. */
export const startOf = (atMs: number, stepS: StepS): number => Math.floor(atMs / (stepS * 1_000)) * stepS * 1_000;
