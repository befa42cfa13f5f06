import type { Rng } from '@shoal/model';

/** What can happen to a tab. `crash` and `freeze` end it, and another joins in its place. */
export const HAPPENINGS = ['crash', 'freeze', 'leave', 'lag', 'loss', 'disorder', 'corruption'] as const;
export type Happening = (typeof HAPPENINGS)[number];

export interface ScheduledEvent {
  atMs: number;
  happening: Happening;
  /** Which of the tabs that are there then, as a share of their number. */
  victim: number;
}

/** A seeded schedule: one happening every `everyMs`, of the kinds given, each to a random tab. */
export function schedule(rng: Rng, durationMs: number, everyMs: number, kinds: readonly Happening[]): ScheduledEvent[] {
  const events: ScheduledEvent[] = [];
  for (let atMs = everyMs; atMs < durationMs; atMs += everyMs) {
    events.push({ atMs, happening: kinds[Math.floor(rng() * kinds.length)]!, victim: rng() });
  }
  return events;
}
