import type { ForwardEngine, ForwardResult, SequenceCache } from '@shoal/model';
import { expect, it } from 'vitest';
import { Answers } from './answers.ts';
import { PassRunner, type PassRunnerOptions } from './pass-runner.ts';
import { Occupancy } from './occupancy.ts';
import { Shares } from './shares.ts';
import { PassCosts, type PassTimes } from './pass-costs.ts';
import { Sequence } from '../sequence.ts';
import type { Speculation } from '../speculation/speculation.ts';
import { chain } from '../speculation/draft-tree.ts';
import { StreamSpeculation } from '../speculation/stream.ts';
import { newTextExperience, TextDrafter } from '../speculation/text-drafter.ts';

/** Milliseconds of a pass's own work and lap, and of its drafts'. */
const PASS = { ownMs: 7, lapMs: 20 };
const DRAFTS = { ownMs: 3, lapMs: 11 };

/** A runner on a clock, whose engine and drafter are the test's. */
function runnerWith(
  options: Pick<PassRunnerOptions, 'forward' | 'speculation' | 'answers'> & Partial<PassRunnerOptions>,
): PassRunner {
  const { now = () => 0 } = options;
  return new PassRunner(1, {
    experts: { batch: () => ({ dispatch: () => expect.unreachable() }) },
    costs: new PassCosts(),
    occupancy: new Occupancy(now),
    shares: new Shares(now),
    timeline: undefined,
    now,
    onPass: () => {},
    onSources: () => {},
    onTokens: () => {},
    ...options,
  });
}

function sequenceOf(promptIds: number[]): Sequence {
  const { signal } = new AbortController();
  return new Sequence({ id: '', promptIds, maxTokens: 8, temperature: 0, topP: 1, seed: 1, signal }, 0);
}

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
  const runner = runnerWith({
    forward,
    answers: { advance: () => {} } as unknown as Answers,
    speculation,
    costs,
    now,
    onPass: (each) => times.push(each),
  });
  const sequence = sequenceOf([1, 2, 3, 4]);
  sequence.cache = { length: 0 } as SequenceCache;
  await runner.pass({ sequences: [sequence], promptRows: new Map([[sequence, 3]]) }, 1);
  expect(costs.rowMs).toBe(27 / 3);
  expect(times).toEqual([
    { rows: 3, promptRows: 3, passMs: 27, shareMs: 27, meanRows: 3, turnMs: 41, engineMs: 10, waitedMs: 31 },
  ]);
});

it("PassRunner ends a sequence for a fault in a draft's row only if the draft is right", async () => {
  const fault = new Error('a weight is damaged');
  /** A sequence with the draft 5, whose row has the fault. */
  const drafting = (): Sequence => {
    const sequence = sequenceOf([1]);
    sequence.append(2);
    sequence.cache = { length: 1, keep: () => {} } as unknown as SequenceCache;
    sequence.speculation = new StreamSpeculation({
      text: new TextDrafter(sequence.ids, newTextExperience()),
      lapsPerPass: 1,
      drafter: undefined,
    });
    sequence.speculation.drafts = chain([5]);
    return sequence;
  };
  const isWrong = drafting();
  const isRight = drafting();
  const isDamaged = drafting();
  const answers = [{ tokenId: 6 }, fault, { tokenId: 5 }, fault, fault, fault];
  const faults = answers.map((answer) => (answer instanceof Error ? answer : undefined));
  const prepared: Sequence[] = [];
  const runner = runnerWith({
    forward: { forward: async () => ({ answers, faults }) } as unknown as ForwardEngine,
    answers: new Answers({ maxContext: 100 }),
    speculation: {
      judge: () => {},
      prepare: async (...[entries]: Parameters<Speculation['prepare']>) =>
        void prepared.push(...entries.filter(({ sequence }) => !sequence.finished).map(({ sequence }) => sequence)),
    } as unknown as Speculation,
  });
  await runner.pass({ sequences: [isWrong, isRight, isDamaged], promptRows: new Map() }, 1);
  expect([isWrong, isRight, isDamaged].map(({ ids, finished }) => ({ ids, finished }))).toEqual([
    { ids: [1, 2, 6], finished: false },
    { ids: [1, 2, 5], finished: true },
    { ids: [1, 2], finished: true },
  ]);
  expect(prepared).toEqual([isWrong]);
  const events = isRight.events();
  expect(await events.next()).toMatchObject({ value: { type: 'token', token: { tokenId: 5 } } });
  await expect(events.next()).rejects.toThrow('A forward pass failed: a weight is damaged');
});
