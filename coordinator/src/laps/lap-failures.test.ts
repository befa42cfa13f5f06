import { describe, expect, it } from 'vitest';
import { systemClock } from '../base/clock.ts';
import { LapFailures } from './lap-failures.ts';

describe('LapFailures', () => {
  function failuresAt() {
    const at = { ms: 0 };
    return { at, failures: new LapFailures({ ...systemClock, now: () => at.ms }) };
  }

  it('drains after two missed deadlines in a row, dismisses after three, and forgets them with an answer', () => {
    const { at, failures } = failuresAt();
    const verdicts = [1, 2, 3].map(() => {
      failures.missed(at.ms);
      at.ms += 3_000;
      return failures.verdict;
    });
    expect(verdicts).toEqual([undefined, 'drain', 'dismiss']);
    failures.answered();
    expect(failures.verdict).toBeUndefined();
  });

  it.each(['busy', 'paused', 'stale-epoch'] as const)(
    'drains after four refusals as %s, though each is excused',
    (reason) => {
      const { at, failures } = failuresAt();
      const verdicts = [1, 2, 3, 4, 5, 6].map(() => {
        failures.refused(at.ms, reason);
        at.ms += 3_000;
        return failures.verdict;
      });
      expect(verdicts).toEqual([undefined, undefined, undefined, 'drain', 'drain', 'dismiss']);
    },
  );

  it('counts laps that were in flight together once', () => {
    const { at, failures } = failuresAt();
    at.ms = 50;
    for (const sentMs of [0, 10, 20]) failures.refused(sentMs, 'failed');
    expect(failures.inARow).toBe(1);
    failures.refused(60, 'failed');
    expect(failures.verdict).toBe('drain');
  });

  it('drains a peer that fails now and then, whatever it answers in between, unless that is long ago', () => {
    const { at, failures } = failuresAt();
    const failEvery = (ms: number): (string | undefined)[] =>
      Array.from({ length: 12 }, () => {
        at.ms += ms;
        failures.missed(at.ms);
        failures.answered();
        return failures.verdict;
      });
    expect(failEvery(20_000)).toEqual(Array.from({ length: 12 }, () => undefined));
    at.ms += 60_001;
    expect(failEvery(5_000).indexOf('drain')).toBe(5);
    expect(failures.verdict).toBe('dismiss');
  });
});
