import { createRng } from '@shoal/model';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { GenerationEvent } from './generation.ts';
import { alternating, anyRequest, type Asked, expected, idsOf } from './testing/any-request.ts';
import { EOS, VOCAB } from './testing/hash-engine.ts';
import { collect, open, request, type Setting } from './testing/hash-scheduler.ts';
import { RuleConstraint, type Rule } from './testing/rule-constraint.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }));
afterEach(() => void vi.useRealTimers());

async function answer(setting: Setting, { rule, ...asked }: Asked) {
  const constraint = rule && new RuleConstraint(rule);
  const { scheduler, forward } = open(setting);
  const { events, usage } = await collect(scheduler.submit({ ...asked, constraint }));
  return { events, usage, constraint, passes: forward.passes };
}

const cases: [string, Partial<Asked>][] = [
  ['a presence penalty', { presencePenalty: 1.5 }],
  ['a frequency penalty', { frequencyPenalty: 0.7 }],
  ['a reward for repetition', { frequencyPenalty: -0.5, presencePenalty: -1 }],
  ['a repetition penalty', { repetitionPenalty: 1.6, promptIds: [1, 2, 3, 1, 2, 3, 1, 2, 3] }],
  ['all penalties', { presencePenalty: 0.4, frequencyPenalty: 0.3, repetitionPenalty: 1.2 }],
  ['min_p', { minP: 0.3, temperature: 1.5 }],
  [
    'biases',
    {
      logitBias: new Map([
        [EOS, 3],
        [2, -100],
        [4, 2.5],
        [VOCAB + 3, 100],
      ]),
    },
  ],
  ['stop tokens', { stopTokenIds: [3, 7], maxTokens: 50 }],
  ['no end of text', { ignoreEos: true, logitBias: new Map([[EOS, 8]]), maxTokens: 50 }],
  ['no end of text, but as a stop token', { ignoreEos: true, stopTokenIds: [EOS], logitBias: new Map([[EOS, 5]]) }],
  ['a least length', { minTokens: 11, stopTokenIds: [1, 2, 3], logitBias: new Map([[EOS, 6]]), maxTokens: 40 }],
  ['a constraint', { rule: alternating, maxTokens: 40, logitBias: new Map([[EOS, 3]]) }],
  ['a constraint and a least length', { rule: alternating, minTokens: 9, logitBias: new Map([[EOS, 9]]) }],
  [
    'a constraint that allows all, and a least length',
    { rule: () => true, minTokens: 6, logitBias: new Map([[EOS, 6]]), maxTokens: 40 },
  ],
  [
    'a constraint that ends before the least length',
    { rule: (ids, id) => (ids.length < 5 ? id < 5 : id === EOS), minTokens: 9 },
  ],
  [
    'everything',
    {
      rule: alternating,
      minTokens: 3,
      stopTokenIds: [8],
      logitBias: new Map([[5, 1]]),
      minP: 0.05,
      topP: 0.95,
      topK: 8,
      presencePenalty: 0.5,
      frequencyPenalty: 0.2,
      repetitionPenalty: 1.1,
    },
  ],
];

describe.each(cases)('an answer with %s', (_, more) => {
  it.each([
    ['without drafts', { mode: 'off' }],
    ['with drafts that are mostly right', { rightInTen: 9 }],
    ['with drafts that are always right', { rightInTen: 10, maxDrafts: 6 }],
    ['with drafts from the text', { mode: 'lookup' }],
  ] as [string, Setting][])('is what each token’s own computation gives, %s', async (__, setting) => {
    for (const [seed, temperature] of [0, 0.8, 1.3].entries()) {
      const asked: Asked = { ...request('one', { temperature, topLogprobs: 1 }), ...more, seed };
      const { events, constraint } = await answer(setting, asked);
      const want = expected(asked);
      expect(idsOf(events)).toEqual(want.ids);
      const finish =
        want.stopTokenId === undefined ? { reason: 'length' } : { reason: 'stop', stopTokenId: want.stopTokenId };
      expect(events.at(-1)).toEqual({ type: 'finish', ...finish });
      if (constraint) expect([constraint.closed, constraint.accepted, constraint.misuses]).toEqual([1, want.ids, []]);
    }
  });
});

describe('drafts', () => {
  it('are counted by penalties and drawn under biases, so that right ones stay right', async () => {
    const asked = request('one', { temperature: 1, maxTokens: 30, presencePenalty: 1, frequencyPenalty: 0.5 });
    // A constraint, so that nothing is drafted but what the module draws.
    const { usage } = await answer({ rightInTen: 10 }, { ...asked, rule: () => true });
    // With the same logits, changes and random numbers, the module draws what the model draws.
    expect(usage.drafted).toBeGreaterThan(10);
    expect(usage.accepted).toBe(usage.drafted);
  });

  it('that the constraint does not allow cost no rows', async () => {
    // What the module drafts without the mask is mostly not allowed.
    const rule: Rule = (ids, tokenId) => tokenId === ids.length % 3;
    const { constraint, passes, usage } = await answer(
      { mode: 'mtp', rightInTen: 10 },
      { ...request('one', { maxTokens: 40 }), rule },
    );
    expect(constraint!.draftsCut).toBeGreaterThan(5);
    expect(passes.slice(1).reduce((sum, rows) => sum + rows - 1, 0)).toBe(
      constraint!.draftsSeen - constraint!.draftsCut,
    );
    expect(usage.drafted).toBe(constraint!.draftsSeen - constraint!.draftsCut);
    // A stream whose drafts are not allowed soon has fewer of them; there were 60 when refused drafts did not count.
    expect(constraint!.draftsSeen).toBeLessThan(40);
  });

  it('are never tokens that end the answer', async () => {
    // In the text 7 follows the answer's first 3, and in the answer 3 does.
    const promptIds = Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? 3 : 7));
    /** Rows of the passes that go on with first tokens. */
    const rowsWith = async (stopTokenIds: number[]): Promise<number[]> => {
      const { scheduler, forward } = open({ mode: 'lookup' });
      const more = { promptIds, maxTokens: 3, minTokens: 4, stopTokenIds, logitBias: new Map([[3, 50]]) };
      for (const cacheScope of ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'])
        await collect(scheduler.submit(request('one', { ...more, cacheScope })));
      return forward.passes.filter((rows) => rows < 4);
    };
    expect(Math.max(...(await rowsWith([])))).toBe(2);
    expect(await rowsWith([7])).toEqual(Array.from({ length: 16 }, () => 1));
  });
});

describe('answers in batches', () => {
  it.each([1, 2] as const)('of %i micro-batches are those of each alone, with all parameters', async (microBatches) => {
    const rng = createRng(20 + microBatches);
    const turn = async (): Promise<void> => {
      for (let turns = Math.floor(rng() * 3); turns > 0; turns--) await new Promise(setImmediate);
    };
    const limits = { maxBatch: 5, maxQueue: 100, prefillRows: 7, microBatches };
    const { scheduler } = open({ numPages: 70, rightInTen: 9, limits, lap: turn });
    const asked = Array.from({ length: 40 }, (_, i) => anyRequest(i, rng));
    const work = asked.map(async ({ rule, ...each }, i) => {
      const constraint = rule && new RuleConstraint(rule);
      const want = expected(asked[i]!);
      const givenUpAfter = rng() < 0.25 ? Math.floor(rng() * 10) : Number.POSITIVE_INFINITY;
      const events: GenerationEvent[] = [];
      for await (const event of scheduler.submit({ ...each, constraint })) if (events.push(event) > givenUpAfter) break;
      const ids = idsOf(events);
      expect(ids).toEqual(want.ids.slice(0, ids.length));
      if (givenUpAfter === Number.POSITIVE_INFINITY) expect(ids).toHaveLength(want.ids.length);
      if (constraint) expect([constraint.closed, constraint.misuses]).toEqual([1, []]);
    });
    await Promise.all(work);
    expect(scheduler.speculation.totals.accepted).toBeGreaterThan(50);
    await expect.poll(() => scheduler.kvBytesInUse).toBe(0);
  });
});
