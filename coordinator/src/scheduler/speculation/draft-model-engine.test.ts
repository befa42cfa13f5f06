import { createRng } from '@shoal/model';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { GenerationRequest } from '../generation.ts';
import type { HashEngineOptions } from '../testing/hash-engine.ts';
import { collect, open, plain, request, type Setting } from '../testing/hash-scheduler.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }));
afterEach(() => void vi.useRealTimers());

const PERFECT: HashEngineOptions = { rightInTen: 10 };
const PROMPT = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4];

const sum = (counts: readonly number[]): number => counts.reduce((all, count) => all + count, 0);

describe('a draft model', () => {
  it.each<[string, HashEngineOptions, Partial<GenerationRequest>, Setting?]>([
    ['greedy', {}, {}],
    ['sampled', PERFECT, { temperature: 1, seed: 5 }],
    ['from the nucleus, penalised', {}, { temperature: 1.3, topP: 0.7, seed: 6, frequencyPenalty: 0.8 }],
    ['with logprobs of its own and of its prompt', PERFECT, { temperature: 1, topLogprobs: 3, promptLogprobs: true }],
    ['as long as the context', PERFECT, { maxTokens: 1000, temperature: 1 }],
    ['with drafts that are never right', { rightInTen: 0 }, { temperature: 1 }],
    ['with windows in both models', { ...PERFECT, window: 6 }, { temperature: 1, maxTokens: 40 }, { window: 9 }],
    ['with a draft model of half the context', { ...PERFECT, maxContext: 30 }, { maxTokens: 50, temperature: 1 }],
    ['with hardly any room for drafting', { ...PERFECT, numPages: 4 }, { promptIds: PROMPT, temperature: 1 }],
  ])('changes no bit of an answer: %s', async (_, draftModel, more, setting = {}) => {
    const asked = request('one', more);
    const { scheduler, failures } = open({ ...setting, draftModel });
    expect((await collect(scheduler.submit(asked))).events).toEqual(await plain(asked));
    expect(failures).toEqual([]);
  });

  it('saves passes, in place of the MTP module, and is counted by its name', async () => {
    const { scheduler, forward, drafting } = open({ draftModel: PERFECT, maxDrafts: 8 });
    const { usage } = await collect(scheduler.submit(request('one', { maxTokens: 40, temperature: 1 })));
    expect(usage.passes).toBeLessThan(40 / 3);
    expect(usage.laps).toBe(usage.passes);
    const { mtp, 'draft-model': own } = scheduler.speculation.counts;
    expect([sum(own.drafted), sum(own.accepted)]).toEqual([usage.drafted, usage.accepted]);
    expect([mtp.drafted, forward.mtpPasses]).toEqual([[], []]);
    expect(drafting!.passes.length).toBeGreaterThan(0);
  });

  it('reads a prompt as the main model does, a bounded number of rows at a time', async () => {
    const { scheduler, drafting } = open({ draftModel: { ...PERFECT, maxContext: 500 }, maxDrafts: 4 });
    const promptIds = [...PROMPT, ...PROMPT.slice(0, 18)];
    const { usage } = await collect(scheduler.submit(request('one', { promptIds, maxTokens: 20 })));
    expect(drafting!.passes[0]).toBe(8);
    expect(Math.max(...drafting!.passes.slice(1))).toBeLessThan(39);
    expect(usage.accepted).toBeGreaterThan(5);
  });

  it('begins where an earlier text of the same scope was alike, and only of that', async () => {
    const { scheduler, drafting } = open({ draftModel: PERFECT, maxDrafts: 1 });
    const rowsFor = async (id: string, cacheScope: string): Promise<number> => {
      const before = sum(drafting!.passes);
      await collect(scheduler.submit(request(id, { promptIds: PROMPT, maxTokens: 10, cacheScope })));
      return sum(drafting!.passes) - before;
    };
    const first = await rowsFor('first', 'key a');
    expect(first).toBeGreaterThan(20);
    expect(await rowsFor('again', 'key a')).toBeLessThan(first - 14);
    expect(await rowsFor('other', 'key b')).toBeGreaterThan(20);
  });

  it('drafts up to the end of its own context and stops there', async () => {
    const { scheduler, drafting, failures } = open({ draftModel: { ...PERFECT, maxContext: 24 }, maxDrafts: 4 });
    const asked = request('one', { maxTokens: 50, temperature: 1 });
    const { events, usage } = await collect(scheduler.submit(asked));
    expect(events).toEqual(await plain(asked));
    expect(usage.accepted).toBeGreaterThan(5);
    const calls = drafting!.passes.length;
    await collect(scheduler.submit(request('longer', { promptIds: [...PROMPT, 1, 2, 3, 4], maxTokens: 20 })));
    expect([drafting!.passes.length, failures]).toEqual([calls, []]);
  });

  it('takes room for part of a long answer, and more while there is some', async () => {
    // Of three pages two are the first answer's, which may be far longer than the room.
    const { scheduler, drafting, engine } = open({ draftModel: { ...PERFECT, numPages: 6 }, maxDrafts: 2 });
    const asked = request('one', { maxTokens: 57, temperature: 1 });
    expect((await collect(scheduler.submit(asked))).events).toEqual(await plain(asked));
    expect(drafting!.passes.length).toBe(0);
    const short = request('two', { maxTokens: 20, temperature: 1 });
    const { usage } = await collect(scheduler.submit(short));
    expect(usage.accepted).toBeGreaterThan(3);
    expect(engine!.kvBytes.inUse).toBe(0);
  });

  it('that fails leaves the texts’ own drafts', async () => {
    const { scheduler, drafting, failures } = open({ draftModel: PERFECT });
    drafting!.beforeDraft = () => Promise.reject(new Error('a thread has died'));
    const asked = request('one', { maxTokens: 40, promptIds: [1, 2, 1, 2, 1, 2] });
    expect((await collect(scheduler.submit(asked))).events).toEqual(await plain(asked));
    expect([drafting!.passes.length, failures.length]).toEqual([4, 1]);
    expect(scheduler.speculation.counts.lookup.drafted[0]).toBeGreaterThan(0);
  });

  it('whose drafts are of no use does not read on', async () => {
    const room = { maxContext: 300, numPages: 100 };
    const { scheduler, drafting } = open({
      ...room,
      limits: { prefillRows: 40 },
      draftModel: { ...room, rightInTen: 0 },
    });
    drafting!.beforeDraft = () => void vi.advanceTimersByTime(200);
    await collect(scheduler.submit(request('one', { maxTokens: 250, temperature: 1 })));
    const rows = sum(drafting!.passes);
    expect(rows).toBeLessThan(150);
    const promptIds = Array.from({ length: 150 }, (_, i) => PROMPT[(i * i) % 20]!);
    await collect(scheduler.submit(request('two', { promptIds, maxTokens: 3 })));
    // No more of it than one try takes.
    expect(sum(drafting!.passes) - rows).toBeLessThan(40);
  });

  it.each([
    [1, 6],
    [2, 0],
  ] as const)(
    'changes no answer of %i micro-batches, cancelled or not, and loses no page (windows of %i positions)',
    async (microBatches, window) => {
      const rng = createRng(20 + microBatches);
      const { scheduler, drafting, engine } = open({
        numPages: 70,
        limits: { maxBatch: 5, maxQueue: 100, prefillRows: 7, microBatches },
        draftModel: { rightInTen: 9, numPages: window ? 200 : 50, window },
        lap: async () => {
          for (let turns = Math.floor(rng() * 4); turns > 0; turns--) await new Promise(setImmediate);
        },
      });
      drafting!.beforeDraft = () => (rng() < 0.05 ? Promise.reject(new Error('hiccup')) : undefined);
      const asked = Array.from({ length: 20 }, (_, i) => {
        const length = 1 + Math.floor(rng() * 20);
        const promptIds = Array.from({ length }, (_, at) => (rng() < 0.8 ? PROMPT[at]! : Math.floor(rng() * 10)));
        const temperature = rng() < 0.4 ? 0 : 0.3 + rng();
        return request(`request ${i}`, { promptIds, maxTokens: Math.floor(rng() * 40), temperature, seed: i });
      });
      const alone: object[][] = [];
      for (const each of asked) alone.push(await plain(each));
      const work = asked.map(async (each, i) => {
        const givenUpAfter = i % 4 === 3 ? 3 : Number.POSITIVE_INFINITY;
        const events: object[] = [];
        for await (const event of scheduler.submit(each)) {
          if (event.type === 'token') delete event.token.speculation;
          if (event.type === 'finish') delete event.speculation;
          if (events.push(event) > givenUpAfter) break;
        }
        expect(events).toEqual(alone[i]!.slice(0, events.length));
      });
      await Promise.all(work);
      expect(scheduler.speculation.counts['draft-model'].accepted[1]).toBeGreaterThan(0);
      await expect.poll(() => [scheduler.kvBytesInUse, engine!.kvBytes.inUse]).toEqual([0, 0]);
    },
  );
});
