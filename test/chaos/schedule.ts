import type { Rng } from '@shoal/model';

/**
 * Kinds of events. `crash`, `freeze` and `leave` end a tab, and another replaces it; `lag`, `loss`, `disorder` and
 * `corruption` are spells of a bad wire; `liar` adds a dishonest tab, `adversary` one that computes nothing wrong; `restart`
 * restarts the coordinator.
 */
export const HAPPENINGS = [
  'crash',
  'freeze',
  'leave',
  'lag',
  'loss',
  'disorder',
  'corruption',
  'liar',
  'adversary',
  'restart',
] as const;
export type Happening = (typeof HAPPENINGS)[number];
/** The kinds that happen to a tab. */
export type Blow = Exclude<Happening, 'liar' | 'adversary' | 'restart'>;

export interface ScheduledEvent {
  atMs: number;
  happening: Happening;
  /** Position among the tabs present at the time, as a share of their number. */
  victim: number;
}

/** A seeded schedule: one event every `everyMs` on a random tab; each kind occurs once before any repeats. */
export function schedule(rng: Rng, durationMs: number, everyMs: number, kinds: readonly Happening[]): ScheduledEvent[] {
  const events: ScheduledEvent[] = [];
  let deck: Happening[] = [];
  for (let atMs = everyMs; atMs < durationMs; atMs += everyMs) {
    if (deck.length === 0) deck = [...kinds];
    const [happening] = deck.splice(Math.floor(rng() * deck.length), 1);
    events.push({ atMs, happening: happening!, victim: rng() });
  }
  return events;
}
