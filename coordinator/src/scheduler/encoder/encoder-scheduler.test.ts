import type { EncodeResult, ForwardEngine, ModelConfig } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { Occupancy } from '../batch/occupancy.ts';
import { GenerationError } from '../generation.ts';
import { type EncoderLimits, EncoderScheduler } from './encoder-scheduler.ts';

const HIDDEN = 2;
const MAX_TOKENS = 8;

/** A pass that waits to be answered. */
interface Pass {
  sequences: readonly (readonly number[])[];
  answer(faultyRow?: number): void;
  fail(): void;
}

/** A scheduler over an engine whose passes the test answers: each row's hidden state is [its token, 1]. */
function start(limits: Partial<EncoderLimits> = {}, more: Partial<ModelConfig> = {}) {
  const passes: Pass[] = [];
  const encode: ForwardEngine['encode'] = (sequences) =>
    new Promise((resolve, reject) => {
      const rows = sequences.flat();
      const hidden = Float32Array.from(rows.flatMap((token) => [token, 1]));
      passes.push({
        sequences,
        answer: (faultyRow) =>
          resolve({ hidden, faults: rows.map((_, r) => (r === faultyRow ? new Error('NaN') : undefined)) }),
        fail: () => reject(new Error('the lap was lost')),
      } satisfies Pass);
    }) as Promise<EncodeResult>;
  const config = { hiddenSize: HIDDEN, maxPositionEmbeddings: MAX_TOKENS, ...more };
  const scheduler = new EncoderScheduler({
    forward: { config, encode } as unknown as ForwardEngine,
    experts: { batch: () => ({ dispatch: () => ({ combine: () => Promise.reject(new Error('no experts')) }) }) },
    occupancy: new Occupancy(() => 0),
    limits: { maxQueue: 4, maxPasses: 1, passRows: 8, ...limits },
  });
  return { scheduler, passes };
}

let requests = 0;
function asked(inputs: number[][], options: { client?: string; signal?: AbortSignal; dimensions?: number } = {}) {
  const { signal = new AbortController().signal, dimensions = HIDDEN, client } = options;
  return { id: `request ${++requests}`, inputs, dimensions, client, signal };
}

/** Lets everything that is due happen. */
const turn = () => new Promise((resolve) => setTimeout(resolve));
const reasonOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'fulfilled',
    (error: unknown) => (error instanceof GenerationError ? error.reason : 'another error'),
  );
const unit = (...values: number[]) => values.map((value) => Math.fround(value / Math.hypot(...values)));

describe('EncoderScheduler', () => {
  it('counts the slots that a gate makes of an input', async () => {
    const gate = { name: 'soft', settings: { slotsPerExpert: 2 } } as const;
    const { scheduler, passes } = start({ passRows: 8 }, { sequenceGate: gate, nRoutedExperts: 2 });
    const embedded = scheduler.embed(asked([[1], [2], [3], [4]]));
    await turn();
    expect(passes.map(({ sequences }) => sequences)).toEqual([[[1], [2]]]);
    passes[0]!.answer();
    await turn();
    expect(passes[1]!.sequences).toEqual([[3], [4]]);
    passes[1]!.answer();
    expect(await embedded).toHaveLength(4);
  });

  it('passes whole inputs within the rows of a pass, clients in turn, and gives each its own mean', async () => {
    const { scheduler, passes } = start();
    const ann = scheduler.embed(asked([[1, 3], [5, 5, 5], [7]], { client: 'ann' }));
    const bob = scheduler.embed(asked([[2], [4, 4, 4]], { client: 'bob' }));
    await turn();
    // Ann's last input fits beside the others, and Bob's doesn't: his comes first in the next pass.
    expect(passes.map(({ sequences }) => sequences)).toEqual([[[1, 3], [2], [5, 5, 5], [7]]]);
    passes[0]!.answer();
    await turn();
    expect(passes[1]!.sequences).toEqual([[4, 4, 4]]);
    passes[1]!.answer();
    expect((await ann).map((one) => [...one])).toEqual([unit(2, 1), unit(5, 1), unit(7, 1)]);
    expect((await bob).map((one) => [...one])).toEqual([unit(2, 1), unit(4, 1)]);
    expect(scheduler.counts).toEqual({ requests: 2, inputs: 5, tokens: 10, passes: 2 });
    expect(scheduler.jobs).toEqual([]);
  });

  it('has two passes in flight where it may', async () => {
    const { scheduler, passes } = start({ maxPasses: 2 });
    const both = scheduler.embed(asked([Array(8).fill(1), Array(8).fill(2), [3]], { dimensions: 1 }));
    await turn();
    expect(passes).toHaveLength(2);
    passes[1]!.answer();
    await turn();
    passes[2]!.answer();
    passes[0]!.answer();
    expect((await both).map((one) => [...one])).toEqual([[1], [1], [1]]);
  });

  it('refuses what can never fit, and what the queue has no room for', async () => {
    const { scheduler, passes } = start();
    expect(await reasonOf(scheduler.embed(asked([[1], Array(9).fill(1)])))).toBe('context-length');
    expect(await reasonOf(scheduler.embed(asked([])))).toBe('context-length');
    const running = scheduler.embed(asked([Array(8).fill(1)]));
    await turn();
    const waiting = [1, 2, 3].map(() => scheduler.embed(asked([[1]], { client: 'ann' })));
    expect(await reasonOf(scheduler.embed(asked([[1]], { client: 'ann' })))).toBe('share-full');
    waiting.push(scheduler.embed(asked([[1]], { client: 'bob' })));
    expect(await reasonOf(scheduler.embed(asked([[1]], { client: 'cleo' })))).toBe('queue-full');
    expect(scheduler.refusals).toMatchObject({ 'queue-full': 1, 'share-full': 1 });
    passes[0]!.answer();
    await turn();
    passes[1]!.answer();
    await Promise.all([running, ...waiting]);
  });

  it('bounds the tokens that wait', async () => {
    const { scheduler } = start({ maxQueue: 1000, passRows: 8 });
    const most = Array.from({ length: 1 << 17 }, () => Array(8).fill(1) as number[]);
    const first = reasonOf(scheduler.embed(asked([...most, ...most])));
    expect(await reasonOf(scheduler.embed(asked([[1]])))).toBe('queue-full');
    await scheduler.drain(0);
    expect(await first).toBe('draining');
  });

  it('frees a cancelled request, in the queue and in a pass', async () => {
    const { scheduler, passes } = start();
    const [running, queued] = [new AbortController(), new AbortController()];
    const cancelled = [
      scheduler.embed(asked([Array(8).fill(1), [2]], { signal: running.signal })),
      scheduler.embed(asked([[3]], { signal: queued.signal })),
    ].map(reasonOf);
    const other = scheduler.embed(asked([[5]]));
    await turn();
    running.abort();
    queued.abort();
    expect(await Promise.all(cancelled)).toEqual(['cancelled', 'cancelled']);
    passes[0]!.answer();
    await turn();
    expect(passes[1]!.sequences).toEqual([[5]]);
    passes[1]!.answer();
    expect([...(await other)[0]!]).toEqual(unit(5, 1));
    expect(await reasonOf(scheduler.embed(asked([[1]], { signal: AbortSignal.abort() })))).toBe('cancelled');
  });

  it('ends requests that take too long', async () => {
    const { scheduler } = start({ requestTimeoutMs: 1 });
    expect(await reasonOf(scheduler.embed(asked([[1]])))).toBe('timeout');
    expect(scheduler.jobs).toEqual([]);
  });

  it('fails what shared a failed pass, and of a pass with NaN only the input', async () => {
    const { scheduler, passes } = start();
    const [one, two] = [scheduler.embed(asked([[1], [2]])), scheduler.embed(asked([[3]]))].map(reasonOf);
    await turn();
    passes[0]!.answer(1);
    expect(await Promise.all([one, two])).toEqual(['internal', 'fulfilled']);
    const lost = reasonOf(scheduler.embed(asked([[1]])));
    await turn();
    passes[1]!.fail();
    expect(await lost).toBe('internal');
    const after = scheduler.embed(asked([[1]]));
    await turn();
    passes[2]!.answer();
    expect(await after).toHaveLength(1);
  });

  it('finishes what it has when it is drained, and takes no more', async () => {
    const { scheduler, passes } = start();
    const last = scheduler.embed(asked([[1]]));
    await turn();
    const drained = scheduler.drain(60_000);
    expect(await reasonOf(scheduler.embed(asked([[1]])))).toBe('draining');
    passes[0]!.answer();
    await Promise.all([drained, last]);
  });
});
