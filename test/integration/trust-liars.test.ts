import { describe, expect, it } from 'vitest';
import { honestLife, LIAR_KINDS, life, MAX_ROWS, RUNS } from './liars.ts';

/** Liars of every kind and beginning with int8 rows: the same draws, other distances. */
const INT8_RUNS = 25;

describe(`trust: a liar is caught, and an honest tab is not, in ${INT8_RUNS} seeded runs with int8 rows`, () => {
  it.each(LIAR_KINDS)('%s: caught from the start, after probation and after 80,000 honest rows', async (kind) => {
    for (let seed = 1; seed <= INT8_RUNS; seed++) {
      const early = await life(kind, 'from the start', seed, 'int8');
      expect({ seed, ...early }).toMatchObject({ seed, caughtBy: kind === 'NaN' ? 'frame' : 'self-test', rows: 0 });
      for (const begin of ['once it serves', 'at the lowest share'] as const) {
        // The record of an honest past is the same in either format and is not played again.
        const { caughtBy, changedRows } = await life(kind, begin, seed + RUNS, 'int8');
        expect({ seed, begin, caughtBy }).toEqual({ seed, begin, caughtBy: kind === 'NaN' ? 'frame' : 'audit' });
        expect(changedRows).toBeLessThanOrEqual(MAX_ROWS);
      }
    }
  });

  it('an honest tab passes the known-answer test, probation and all audits', async () => {
    for (let seed = 1; seed <= INT8_RUNS; seed++) {
      expect({ seed, ...(await honestLife(seed, 'int8')) }).toEqual({ seed, caughtBy: 'nobody', failures: 0 });
    }
  });
});

describe(`trust: a liar is caught, and an honest tab is not, in ${RUNS} seeded runs`, () => {
  it.each(LIAR_KINDS)('%s: caught before it serves, if it lies from the start', async (kind) => {
    for (let seed = 1; seed <= RUNS; seed++) {
      const { caughtBy, rows } = await life(kind, 'from the start', seed);
      expect({ seed, caughtBy, rows }).toEqual({ seed, caughtBy: kind === 'NaN' ? 'frame' : 'self-test', rows: 0 });
    }
  });

  it.each(LIAR_KINDS)(
    '%s: caught within 500 rows that it changed, if it is right until it is trusted',
    async (kind) => {
      for (let seed = 1; seed <= RUNS; seed++) {
        const { caughtBy, changedRows } = await life(kind, 'once it serves', seed);
        expect({ seed, caughtBy }).toEqual({ seed, caughtBy: kind === 'NaN' ? 'frame' : 'audit' });
        expect(changedRows).toBeLessThanOrEqual(MAX_ROWS);
      }
    },
  );

  it.each(LIAR_KINDS)(
    '%s: caught within 500 rows that it changed, after 80,000 honest rows, when its audit share is lowest',
    async (kind) => {
      for (let seed = 1; seed <= RUNS; seed++) {
        const { caughtBy, changedRows, rows } = await life(kind, 'at the lowest share', seed);
        expect({ seed, caughtBy }).toEqual({ seed, caughtBy: kind === 'NaN' ? 'frame' : 'audit' });
        expect(changedRows).toBeLessThanOrEqual(MAX_ROWS);
        // A fault in all its rows is found within two windows of audits; the last lap counts in full.
        if (kind !== 'one expert swapped') expect(rows).toBeLessThanOrEqual(99 + 8);
      }
    },
  );

  it('an honest tab passes the known-answer test, probation and all audits', async () => {
    for (let seed = 1; seed <= RUNS; seed++) {
      expect({ seed, ...(await honestLife(seed)) }).toEqual({ seed, caughtBy: 'nobody', failures: 0 });
    }
  });
});
