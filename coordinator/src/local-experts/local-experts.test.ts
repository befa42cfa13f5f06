import { expect, it } from 'vitest';
import type { ExpertThread } from './expert-thread.ts';
import { type WorkItem, uniformWorkItem } from '@shoal/model';
import { LocalLayers } from './local-experts.ts';

const item: WorkItem = uniformWorkItem({
  layer: 3,
  numRows: 1,
  rows: new Uint16Array(4),
  experts: Uint16Array.of(0),
  weights: Float32Array.of(1),
});

it('LocalLayers computes from memory, by the fallback while the layers are not loaded, and from memory again', async () => {
  const troubles: string[] = [];
  const loads: (readonly number[])[] = [];
  let failure: Error | undefined;
  let held: readonly number[] = [];
  const thread = {
    closed: false,
    has: (layer: number) => held.includes(layer),
    load: async (layers: readonly number[]) => {
      loads.push(layers);
      if (failure) throw failure;
      held = layers;
    },
    laps: {
      compute: async () => {
        if (failure) throw failure;
        return Float32Array.of(1);
      },
    },
  };
  const localLayers = new LocalLayers({
    layers: [3, 4],
    thread: thread as unknown as ExpertThread,
    fallback: { compute: async () => Float32Array.of(2) },
    onTrouble: ({ message }) => troubles.push(message),
  });
  const by = async (): Promise<number> => (await localLayers.compute(item))[0]!;

  await localLayers.load();
  expect(await by()).toBe(1);
  failure = new Error('an item that went wrong');
  expect(await by()).toBe(2);
  expect(troubles).toEqual(['an item that went wrong']);
  failure = undefined;
  expect(await by()).toBe(1);
  // The thread ends while nothing runs on it. The layers are loaded again without being waited for.
  held = [];
  expect(await by()).toBe(2);
  expect(troubles.at(-1)).toContain('loaded again');
  expect(await by()).toBe(1);
  expect(loads).toEqual([
    [3, 4],
    [3, 4],
  ]);
  thread.closed = true;
  failure = new Error('shutting down');
  await expect(by()).rejects.toThrow('shutting down');
  expect(troubles).toHaveLength(2);
});
