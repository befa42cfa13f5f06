import { createRng } from '@shoal/model';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { GenerationError, GenerationRequest } from '../generation.ts';
import { Scheduler } from '../scheduler.ts';
import { testLimits, testSpeculation } from '../testing/options.ts';
import { VOCAB } from '../testing/hash-engine.ts';
import { collect, open, plain, request, type Setting } from '../testing/hash-scheduler.ts';
import { RuleConstraint } from '../testing/rule-constraint.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }));
afterEach(() => void vi.useRealTimers());

const SYSTEM_PROMPT = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5];

/** Prompts that repeat themselves, as answers about them do. */
function promptOf(rng: () => number): number[] {
  const phrase = Array.from({ length: 2 + Math.floor(rng() * 4) }, () => Math.floor(rng() * (VOCAB - 1)));
  const length = 1 + Math.floor(rng() * 20);
  const own = Array.from({ length }, (_, i) =>
    rng() < 0.85 ? phrase[i % phrase.length]! : Math.floor(rng() * (VOCAB - 1)),
  );
  return rng() < 0.5 ? [...SYSTEM_PROMPT, ...own] : own;
}

function anyRequest(i: number, rng: () => number): GenerationRequest {
  return request(`request ${i}`, {
    promptIds: promptOf(rng),
    maxTokens: Math.floor(rng() * 40),
    temperature: rng() < 0.4 ? 0 : 0.3 + rng(),
    topP: rng() < 0.5 ? 1 : 0.5 + rng() / 2,
    seed: i,
    ...(rng() < 0.3 && { topLogprobs: 2 }),
    ...(rng() < 0.2 && { promptLogprobs: true }),
    ...(rng() < 0.2 && { trace: true }),
    ...(rng() < 0.2 && { deviceLimit: 2 }),
    ...(rng() < 0.1 && { speculate: false }),
  });
}

describe('an answer with drafts', () => {
  it.each<[string, Setting, Partial<GenerationRequest>]>([
    ['greedy', {}, {}],
    ['sampled', {}, { temperature: 1, seed: 5 }],
    ['from the nucleus', {}, { temperature: 1.3, topP: 0.7, seed: 6 }],
    ['with logprobs of its own and of its prompt', {}, { temperature: 1, topLogprobs: 3, promptLogprobs: true }],
    ['traced', { rightInTen: 9 }, { temperature: 1, trace: true }],
    ['within a device limit', { rightInTen: 9 }, { temperature: 1, deviceLimit: 2 }],
    ['as long as the context', {}, { maxTokens: 1000, temperature: 1 }],
    ['of a length that no pass ends with', { rightInTen: 10 }, { maxTokens: 17 }],
    ['of two tokens', {}, { maxTokens: 2 }],
    ['whose drafts are always right', { rightInTen: 10 }, { temperature: 1 }],
    ['whose drafts are never right', { rightInTen: 0 }, { temperature: 1 }],
    ['drafted from its own text', { mode: 'lookup' }, { promptIds: [1, 2, 3, 4, 1, 2, 3, 4, 1, 2], temperature: 0.4 }],
  ])('is what it would be without: %s', async (_, setting, more) => {
    const asked = request('one', more);
    const { scheduler } = open(setting);
    expect((await collect(scheduler.submit(asked))).events).toEqual(await plain(asked));
  });

  it('ends at an end of text among right drafts, and says no more', async () => {
    const asked = request('one', { temperature: 1, maxTokens: 50, seed: 3 });
    const whole = await plain(asked, []);
    const ids = whole.flatMap((event) => ('token' in event ? [(event.token as { tokenId: number }).tokenId] : []));
    for (const end of new Set(ids.slice(4))) {
      const { scheduler } = open({ rightInTen: 10, eosTokenIds: [end] });
      const { events } = await collect(scheduler.submit(asked));
      expect(events).toEqual(await plain(asked, [end]));
      expect(events).toHaveLength(ids.indexOf(end) + 1);
    }
  });

  it('needs fewer passes, and tells how many drafts and passes there were', async () => {
    const { scheduler, forward } = open({ rightInTen: 10, maxDrafts: 3 });
    const { events, usage } = await collect(scheduler.submit(request('one', { maxTokens: 24, temperature: 1 })));
    expect(events).toHaveLength(25);
    expect(usage.passes).toBe(forward.passes.length);
    expect(usage.passes).toBeLessThan(24 / 1.8);
    expect(usage.accepted).toBe(24 - usage.passes);
    // With the same logits and random numbers, both draw the same tokens at any depth.
    expect(usage.drafted).toBeGreaterThanOrEqual(usage.accepted);
    expect(usage.laps).toBe(usage.passes);
    const { drafted, accepted } = scheduler.speculation.counts.mtp;
    expect(drafted.reduce((a, b) => a + b)).toBe(usage.drafted);
    expect(accepted.reduce((a, b) => a + b)).toBe(usage.accepted);
    expect(scheduler.tokens).toBe(24);
  });

  it('tells of the laps of its drafts too, where tabs hold the module’s experts', async () => {
    const { scheduler, forward } = open({ rightInTen: 10, maxDrafts: 3, lapsPerDraft: 1 });
    const { usage } = await collect(scheduler.submit(request('one', { maxTokens: 24, temperature: 1 })));
    expect(forward.mtpPasses.length).toBeGreaterThan(10);
    expect(usage.laps).toBe(forward.passes.length + forward.mtpPasses.length);
  });

  it('whose drafts fail soon has few of them', async () => {
    const { scheduler } = open({ mode: 'mtp', rightInTen: 0 });
    // With a constraint nothing is drafted but what the module draws. Of so small a vocabulary some alternative is often right.
    const constraint = new RuleConstraint(() => true);
    const { usage } = await collect(scheduler.submit(request('one', { maxTokens: 50, temperature: 1, constraint })));
    expect(usage.accepted).toBeLessThan(usage.drafted / 2);
    expect(usage.drafted).toBeLessThan(60);
  });

  it('that wants none has none', async () => {
    const { scheduler, forward } = open();
    const asked = request('one', { speculate: false });
    expect(await collect(scheduler.submit(asked))).toMatchObject({ usage: { drafted: 0 }, events: await plain(asked) });
    expect([forward.mtpPasses.length, forward.passes.length]).toEqual([0, 20]);
  });
});

describe('drafting', () => {
  it('that fails loses no request: the text’s own drafts take over', async () => {
    const { scheduler, forward, failures } = open();
    forward.beforeMtp = () => Promise.reject(new Error('no experts'));
    const asked = request('one', { maxTokens: 40, promptIds: [1, 2, 1, 2, 1, 2] });
    expect((await collect(scheduler.submit(asked))).events).toEqual(await plain(asked));
    // Three in a row, and one more sixteen tokens later.
    expect(forward.mtpPasses).toHaveLength(4);
    expect(failures).toHaveLength(1);
    expect(scheduler.speculation.failures).toBe(4);
    expect(scheduler.speculation.counts.lookup.drafted[0]).toBeGreaterThan(0);
  });

  it('goes on when it fails now and then', async () => {
    const { scheduler, forward } = open({ rightInTen: 10 });
    let calls = 0;
    forward.beforeMtp = () => (calls++ % 3 === 1 ? Promise.reject(new Error('hiccup')) : undefined);
    const asked = request('one', { maxTokens: 40, temperature: 1 });
    const { events, usage } = await collect(scheduler.submit(asked));
    expect(events).toEqual(await plain(asked));
    expect(usage.accepted).toBeGreaterThan(10);
    expect(forward.staleReads).toBe(0);
  });

  it.each(['calls', 'rows'])('begins again once what failed for a while is whole: %s', async (what) => {
    const { scheduler, forward, failures } = open({ mode: 'mtp', rightInTen: 10 });
    const damaged = new Error('no experts');
    let before = 0;
    forward.beforeMtp = () => {
      const isDamaged = ++before <= 3;
      if (isDamaged && what === 'calls') throw damaged;
      forward.mtpFault = isDamaged ? damaged : undefined;
    };
    const asked = request('one', { maxTokens: 50, temperature: 1 });
    const { events, usage } = await collect(scheduler.submit(asked));
    expect(events).toEqual(await plain(asked));
    expect(failures).toHaveLength(1);
    // Three failures, and a pause of sixteen tokens.
    expect(scheduler.speculation.failures).toBe(3);
    expect(forward.mtpPasses.length).toBeGreaterThan(3);
    expect(usage.accepted).toBeGreaterThan(0);
    expect(forward.staleReads).toBe(0);
  });

  it('refuses a mode that the model is not up to', () => {
    const speculation = testSpeculation({ mode: 'mtp', hasMtpExperts: false });
    const { forward } = open();
    const experts = { batch: (): never => expect.fail() };
    const options = { modelId: 'hash', forward, experts, limits: testLimits(), lapsPerPass: 1, speculation };
    expect(() => new Scheduler(options)).toThrow(/--speculate mtp/);
  });
});

describe('drafts from earlier answers', () => {
  const asked = (cacheScope: string | undefined) =>
    request(`of ${cacheScope}`, { promptIds: [4, 7, 1], maxTokens: 40, temperature: 1, seed: 8, cacheScope });

  /** What drafts do for a request after others have been answered. */
  async function usageAfter(earlier: readonly (string | undefined)[], cacheScope: string | undefined) {
    const { scheduler } = open({ mode: 'lookup', maxDrafts: 16 });
    // Passes of different sizes: what rows cost is then known.
    await collect(
      scheduler.submit(request('first', { promptIds: [1, 2, 1, 2, 1], maxTokens: 40, cacheScope: 'first' })),
    );
    for (const scope of earlier) await collect(scheduler.submit(asked(scope)));
    const { events, usage } = await collect(scheduler.submit(asked(cacheScope)));
    expect(events).toEqual(await plain(asked(cacheScope)));
    return usage;
  }

  it('save passes where the same scope has asked alike', async () => {
    const [alone, again] = [await usageAfter([], 'key a'), await usageAfter(['key a'], 'key a')];
    expect(again.passes).toBeLessThan(alone.passes / 2);
    expect(await usageAfter([undefined], undefined)).toEqual(again);
  });

  it('never come from another scope, and nor does what is expected of them', async () => {
    const alone = await usageAfter([], 'key a');
    expect(await usageAfter(['key b', undefined], 'key a')).toEqual(alone);
  });

  it('take turns with those of the MTP module: each where it promises more', async () => {
    const { scheduler } = open({ rightInTen: 8, maxDrafts: 16 });
    const { counts } = scheduler.speculation;
    const right = (kind: 'mtp' | 'lookup'): number => counts[kind].accepted.reduce((a, b) => a + b, 0);
    const first = await collect(scheduler.submit(asked('key a')));
    expect(right('mtp')).toBeGreaterThan(2 * right('lookup'));
    const before = right('lookup');
    const again = await collect(scheduler.submit(asked('key a')));
    expect(again.events).toEqual(first.events);
    expect(again.usage.passes).toBeLessThan(first.usage.passes / 2);
    expect(right('lookup') - before).toBeGreaterThan(again.usage.accepted / 2);
  });

  it('end with their scope, for answers that are under way too', async () => {
    const { scheduler } = open({ mode: 'lookup', maxDrafts: 16 });
    const stream = scheduler.submit(asked('key a'));
    scheduler.speculation.keepAnswersOf((scope) => scope !== 'key a');
    const { usage } = await collect(stream);
    const again = await collect(scheduler.submit(asked('key a')));
    expect(again.usage.passes).toBeGreaterThan(usage.passes / 2);
    const third = await collect(scheduler.submit(asked('key a')));
    expect(third.usage.passes).toBeLessThan(usage.passes / 2);
  });
});

describe('drafts in batches', () => {
  it.each([
    [1, 0],
    [2, 0],
    [2, 6],
  ] as const)(
    'of %i micro-batches change no answer, cancelled or not, and lose no page (windows of %i positions)',
    async (microBatches, window) => {
      const rng = createRng(microBatches);
      const limits = { maxBatch: 5, maxQueue: 100, prefillRows: 7, microBatches };
      const { scheduler, forward } = open({
        // Two more tables need their pages too.
        numPages: window ? 110 : 70,
        window,
        rightInTen: 9,
        limits,
        lap: async () => {
          for (let turns = Math.floor(rng() * 4); turns > 0; turns--) await new Promise(setImmediate);
        },
      });
      forward.beforeMtp = () => (rng() < 0.05 ? Promise.reject(new Error('hiccup')) : undefined);
      // First, since these laps would count as the others' time.
      const asked = Array.from({ length: 40 }, (_, i) => anyRequest(i, rng));
      const alone: object[][] = [];
      for (const each of asked) alone.push(await plain(each));
      const work = asked.map(async (each, i) => {
        const expected = alone[i]!;
        const givenUpAfter = rng() < 0.25 ? Math.floor(rng() * 10) : Number.POSITIVE_INFINITY;
        const events: object[] = [];
        for await (const event of scheduler.submit(each)) {
          if (event.type === 'token') delete event.token.speculation;
          if (event.type === 'finish') delete event.speculation;
          if (events.push(event) > givenUpAfter) break;
        }
        expect(events).toEqual(expected.slice(0, events.length));
        if (givenUpAfter === Number.POSITIVE_INFINITY) expect(events).toHaveLength(expected.length);
      });
      await Promise.all(work);
      expect(scheduler.prefix.reused).toBeGreaterThan(0);
      expect(scheduler.speculation.counts.mtp.accepted[1]).toBeGreaterThan(0);
      // Drafts beside the first were right too.
      expect(forward.moved).toBeGreaterThan(10);
      await expect.poll(() => scheduler.kvBytesInUse).toBe(0);
      // All pages are free again.
      const whole = Array.from({ length: 4 }, (_, i) => request(`whole ${i}`, { maxTokens: 57, promptIds: [i, 5, 5] }));
      const answers = await Promise.all(whole.map((each) => collect(scheduler.submit(each))));
      for (const [i, { events }] of answers.entries()) expect(events).toEqual(await plain(whole[i]!));
    },
  );

  it.each([1, 2] as const)(
    'of %i micro-batches whose laps fail end with their own pass, and lose no page',
    async (microBatches) => {
      const rng = createRng(10 + microBatches);
      const { scheduler } = open({
        numPages: 70,
        rightInTen: 9,
        limits: { maxBatch: 5, maxQueue: 100, prefillRows: 7, microBatches },
        lap: async () => {
          for (let turns = Math.floor(rng() * 4); turns > 0; turns--) await new Promise(setImmediate);
          if (rng() < 0.04) throw new Error('no shard');
        },
      });
      const asked = Array.from({ length: 40 }, (_, i) => anyRequest(i, rng));
      const alone: object[][] = [];
      for (const each of asked) alone.push(await plain(each));
      const ends: Record<string, number> = {};
      const work = asked.map(async (each, i) => {
        const aborted = new AbortController();
        const events: object[] = [];
        let end = 'whole';
        try {
          for await (const event of scheduler.submit({ ...each, signal: aborted.signal })) {
            if (event.type === 'token') delete event.token.speculation;
            if (event.type === 'finish') delete event.speculation;
            events.push(event);
            if (i % 8 === 7 && events.length === 3) setImmediate(() => aborted.abort());
          }
        } catch (error) {
          end = (error as GenerationError).reason;
        }
        ends[end] = (ends[end] ?? 0) + 1;
        expect(events).toEqual(alone[i]!.slice(0, end === 'whole' ? undefined : events.length));
      });
      await Promise.all(work);
      for (const end of ['whole', 'internal', 'cancelled']) expect(ends[end], end).toBeGreaterThan(0);
      await expect.poll(() => [scheduler.kvBytesInUse, scheduler.running.length]).toEqual([0, 0]);
      // Ended by a drain that waits for nothing, while a pass still writes.
      const cut = [0, 1].map((i) => collect(scheduler.submit(request(`cut ${i}`, { promptIds: [i, 5, 5] }))));
      const outcomes = Promise.allSettled(cut);
      await new Promise(setImmediate);
      await scheduler.drain(0);
      for (const outcome of await outcomes) expect(outcome).toMatchObject({ reason: { reason: expect.any(String) } });
      await expect.poll(() => [scheduler.kvBytesInUse, scheduler.running.length]).toEqual([0, 0]);
    },
  );
});
