import type { ForwardEngine, ForwardResult, SequenceCache } from '@shoal/model';
import { expect, it } from 'vitest';
import type { Answers } from './answers.ts';
import { PassRunner } from './pass-runner.ts';
import { Occupancy } from './occupancy.ts';
import { PassCosts, type PassTimes } from './pass-costs.ts';
import { Sequence } from '../sequence.ts';
import type { Speculation } from '../speculation/speculation.ts';

/** Milliseconds of a pass's own work and lap, and of its drafts'. */
const PASS = { ownMs: 7, lapMs: 20 };
const DRAFTS = { ownMs: 3, lapMs: 11 };

it('PassRunner times a turn as the pass and the drafting after it, laps included, and a row of a pass without the drafting', async () => {
  let nowMs = 1000;
  const works = (costs: typeof PASS, observe: Parameters<ForwardEngine['forward']>[2]): void => {
    nowMs += costs.ownMs;
    observe?.waits?.(1);
    nowMs += costs.lapMs;
    observe?.resumes?.(1);
  };
  const costs = new PassCosts();
  const forward = {
    forward: async (_rows: unknown, _experts: unknown, observe: Parameters<ForwardEngine['forward']>[2]) => {
      works(PASS, observe);
      return { answers: [] } as unknown as ForwardResult;
    },
  } as unknown as ForwardEngine;
  const speculation = {
    judge: () => {},
    prepare: async (...[, , within]: Parameters<Speculation['prepare']>) => works(DRAFTS, within?.observe),
  } as unknown as Speculation;
  const times: PassTimes[] = [];
  const now = (): number => nowMs;
  const runner = new PassRunner(1, {
    forward,
    experts: { batch: () => ({ dispatch: () => expect.unreachable() }) },
    answers: { advance: () => {} } as unknown as Answers,
    speculation,
    costs,
    occupancy: new Occupancy(now),
    timeline: undefined,
    now,
    onPass: (each) => times.push(each),
    onTokens: () => {},
  });
  const { signal } = new AbortController();
  const sequence = new Sequence(
    { id: '', promptIds: [1, 2, 3, 4], maxTokens: 8, temperature: 0, topP: 1, seed: 1, signal },
    nowMs,
  );
  sequence.cache = { length: 0 } as SequenceCache;
  await runner.pass({ sequences: [sequence], promptRows: new Map([[sequence, 3]]) }, 1);
  expect(costs.rowMs).toBe(27 / 3);
  expect(times).toEqual([{ rows: 3, promptRows: 3, passMs: 27, turnMs: 41, engineMs: 10, waitedMs: 31 }]);
});
