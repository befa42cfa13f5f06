import type { ModelConfig } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { lapsPerPass, chooseLocalLayers, refuseBeyondMemory, type LocalLayerInput } from './choose-layers.ts';

/** Four MoE layers of 10 experts of 100 B after a dense one, and an MTP module. */
const config = {
  numHiddenLayers: 5,
  layerKinds: ['dense', 'moe', 'moe', 'moe', 'moe', 'moe'] as const,
  nRoutedExperts: 10,
};
const plan = (changes: Partial<LocalLayerInput> = {}) =>
  chooseLocalLayers({ config, shardBytes: 100, localBytes: 0, expertMemoryBytes: 0, mtp: 'auto', ...changes });

describe('chooseLocalLayers', () => {
  it('puts the MTP module into half of the memory for audits', () => {
    expect(plan({ expertMemoryBytes: 2000 })).toEqual({ layers: [], mtp: 'local', bytes: 0 });
    expect(plan({ expertMemoryBytes: 1999 })).toEqual({ layers: [], mtp: 'tabs', bytes: 0 });
  });

  it('takes the module first and then whole layers', () => {
    const held = (localBytes: number) => plan({ localBytes, expertMemoryBytes: 2000 });
    expect(held(1000)).toEqual({ mtp: 'local', layers: [], bytes: 1000 });
    expect(held(3999)).toEqual({ mtp: 'local', layers: [1, 2], bytes: 3000 });
    expect(held(1e9)).toEqual({ mtp: 'local', layers: [1, 2, 3, 4], bytes: 5000 });
    expect([1000, 3999, 1e9].map((bytes) => lapsPerPass(config, held(bytes)))).toEqual([4, 2, 0]);
  });

  it('leaves the module where the option says', () => {
    for (const mtp of ['tabs', 'off'] as const) {
      const memory = { localBytes: 1000, expertMemoryBytes: 2000 };
      expect(plan({ mtp, ...memory })).toEqual({ mtp, layers: [1], bytes: 1000 });
    }
    expect(() => plan({ mtp: 'local', expertMemoryBytes: 1999 })).toThrow(/--local-experts at least that/);
  });

  it('chooses no place for a module that the model does not have', () => {
    const without = { ...config, layerKinds: config.layerKinds.slice(0, 5) };
    expect(plan({ config: without, localBytes: 1000 })).toMatchObject({ mtp: undefined, layers: [1], bytes: 1000 });
  });

  it('takes a decoder’s layers before an encoder’s, which make a lap only once an answer', () => {
    const seq2seq = { encoderLayers: 3 } as ModelConfig['seq2seq'];
    const both = { ...config, layerKinds: config.layerKinds.slice(0, 5), ...(seq2seq && { seq2seq }) };
    const held = (localBytes: number) => plan({ config: both, localBytes });
    expect([1000, 2000, 3000].map((bytes) => held(bytes).layers)).toEqual([[3], [3, 4], [1, 3, 4]]);
    expect([0, 1000, 3000].map((bytes) => lapsPerPass(both, held(bytes)))).toEqual([2, 1, 0]);
  });

  it('and refuseBeyondMemory throw for less than a layer, or more than the machine has', () => {
    expect(() => plan({ localBytes: 999 })).toThrow(/one of this model takes 1000 bytes/);
    const MIB = 2 ** 20;
    const needs = { denseBytes: 10 * MIB, kvBytes: 20 * MIB, expertMemoryBytes: 30 * MIB, localLayerBytes: 41 * MIB };
    expect(() => refuseBeyondMemory(needs, 100 * MIB)).toThrow(/41 MiB of experts.*give at most 40 MiB/);
    refuseBeyondMemory(needs, 101 * MIB);
    // No check without local layers.
    refuseBeyondMemory({ ...needs, localLayerBytes: 0 }, MIB);
  });
});
