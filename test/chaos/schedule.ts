import type { Rng } from '@shoal/model';

/**
 * What can happen. `crash`, `freeze` and `leave` end a tab, and another joins in its place; `lag`, `loss`, `disorder` and
 * `corruption` are spells of a bad wire; with `liar` a dishonest tab joins beside the others; `restart` is the coordinator's.
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
  'restart',
] as const;
export type Happening = (typeof HAPPENINGS)[number];
/** Those that happen to a tab. */
export type Blow = Exclude<Happening, 'liar' | 'restart'>;

export interface ScheduledEvent {
  atMs: number;
  happening: Happening;
  /** Which of the tabs that are there then, as a share of their number. */
  victim: number;
}

/** A seeded schedule: one happening every `everyMs`, each kind once before any comes again, each to a random tab. */
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
