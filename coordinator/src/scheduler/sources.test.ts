import { createRng } from '@shoal/model';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { GenerationError } from './generation.ts';
import { anyRequest, type Asked, expected, idsOf } from './testing/any-request.ts';
import { collect, open, request } from './testing/hash-scheduler.ts';
import { RuleConstraint } from './testing/rule-constraint.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }));
afterEach(() => void vi.useRealTimers());

/** A request with a source, which all but one or two tokens of its prompt are. */
function withSource(i: number, rng: () => number): Asked {
  const asked = anyRequest(i, rng);
  const begun = [0, 3].slice(0, 1 + Math.floor(rng() * 2));
  return { ...asked, promptIds: [...asked.promptIds, ...begun], sourceLength: asked.promptIds.length };
}

const submit = ({ scheduler }: Pick<ReturnType<typeof open>, 'scheduler'>, { rule, ...asked }: Asked) =>
  scheduler.submit({ ...asked, constraint: rule && new RuleConstraint(rule) });

describe('requests with a source', () => {
  it.each([1, 2, 'auto'] as const)(
    'answer from all of it, with %s micro-batches, whatever runs beside them',
    async (microBatches) => {
      const rng = createRng(7);
      // Room for some of them at a time, so that pages are used again and again.
      const world = open({ mode: 'off', numPages: 40, limits: { microBatches, maxBatch: 6 } });
      const asked = Array.from({ length: 40 }, (_, i) => (i % 4 === 3 ? anyRequest(i, rng) : withSource(i, rng)));
      const answers = await Promise.all(asked.map((each) => collect(submit(world, each))));
      for (const [i, { events }] of answers.entries())
        expect(idsOf(events), `request ${i}`).toEqual(expected(asked[i]!).ids);
      // Sources share passes.
      const { sourcePasses } = world.forward;
      expect(sourcePasses.length).toBeLessThan(25);
      const sourceTokens = asked.reduce((sum, { sourceLength = 0 }) => sum + sourceLength, 0);
      expect(sourcePasses.reduce((a, b) => a + b, 0)).toBe(sourceTokens);
      await expect.poll(() => world.scheduler.kvBytesInUse).toBe(0);
    },
  );

  it('share no prefix with a source that begins alike, nor with an equal one', async () => {
    const { scheduler, forward } = open({ mode: 'off' });
    const short = { promptIds: [1, 2, 3, 4, 5, 6, 7, 8, 9, 0], sourceLength: 9 };
    const long = { promptIds: [1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9, 0], sourceLength: 12 };
    for (const asked of [short, long, short].map((each, i) => request(`${i}`, each))) {
      expect(idsOf((await collect(scheduler.submit(asked))).events)).toEqual(expected(asked).ids);
    }
    expect(scheduler.prefix.reused).toBe(0);
    expect(forward.sourcePasses).toEqual([9, 12, 9]);
  });

  it('do not keep others waiting: between two passes of sources, streams have a turn', async () => {
    const { scheduler, forward } = open({ mode: 'off', numPages: 4000, maxContext: 600, limits: { microBatches: 1 } });
    const stream = collect(scheduler.submit(request('stream', { maxTokens: 30 })));
    // Each fills a pass.
    const source = Array.from({ length: 500 }, (_, i) => i % 10);
    const many = Array.from({ length: 5 }, (_, i) =>
      collect(scheduler.submit(request(`${i}`, { promptIds: [...source, 0], sourceLength: 500, maxTokens: 1 }))),
    );
    const order: string[] = [];
    const { encodeSources, forward: decode } = forward;
    forward.encodeSources = (...args) => (order.push('source'), encodeSources.apply(forward, args));
    forward.forward = (...args) => (order.push('rows'), decode.apply(forward, args));
    await Promise.all([stream, ...many]);
    expect(forward.sourcePasses).toEqual([500, 500, 500, 500, 500]);
    expect(order.join(' ')).not.toContain('source source');
  });

  it('are cancelled within their pass, and fail with a fault of their own', async () => {
    let endPass = (): void => {};
    let lap: Promise<void> | undefined = new Promise((resolve) => (endPass = resolve));
    const world = open({ mode: 'off', lap: () => lap });
    const { scheduler, forward } = world;
    const abort = new AbortController();
    const asked = { promptIds: [1, 2, 3, 0], sourceLength: 3, maxTokens: 3 };
    const cancelled = collect(scheduler.submit(request('gone', { ...asked, signal: abort.signal })));
    await expect.poll(() => forward.sourcePasses).toEqual([3]);
    abort.abort();
    await expect(cancelled).rejects.toThrow(GenerationError);
    lap = undefined;
    endPass();
    const encode = forward.encodeSources.bind(forward);
    forward.encodeSources = async (...args) => ({
      ...(await encode(...args)),
      faults: [undefined, new Error('not finite')],
    });
    const [whole, faulty] = ['a', 'b'].map((id) => collect(scheduler.submit(request(id, asked))));
    await expect(faulty).rejects.toThrow(/not finite/);
    expect(idsOf((await whole!).events)).toEqual(expected(request('a', asked)).ids);
    await expect.poll(() => scheduler.kvBytesInUse).toBe(0);
  });
});
