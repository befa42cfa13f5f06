import {
  createReferenceEngine,
  type ExpertDispatch,
  type ForwardEngine,
  loadDenseWeights,
  type MoeCall,
} from '@shoal/model';
import { afterAll, describe, expect, it } from 'vitest';
import { config, experts, reader } from '../testing/small-model.ts';
import { openWasmEngine } from './open.ts';

const engines: ForwardEngine[] = [
  createReferenceEngine({ config, weights: await loadDenseWeights(config, reader) }),
  await openWasmEngine({ config, weights: { reader, format: 'f32' }, threads: 0 }),
];
afterAll(async () => {
  for (const engine of engines) await engine.close();
});

/** Experts that damage row 1 in layer 2. */
const damaging = (value: number): ExpertDispatch => ({
  dispatch: (call: MoeCall) => ({
    combine: async () => {
      const sums = await experts.dispatch(call).combine();
      if (call.layer === 2) sums[config.hiddenSize + 3] = value;
      return sums;
    },
  }),
});

describe.each(engines)('a row that is not finite, in the $name engine,', (engine) => {
  const rowsOf = (lengths: readonly number[]) =>
    lengths.flatMap((length) => {
      const cache = engine.newSequence();
      const query = { token: { temperature: 0, topP: 1, uniform: 0 } };
      return Array.from({ length }, (_, position) => ({ tokenId: position + 3, position, cache, query }));
    });

  it.each([Number.NaN, Number.POSITIVE_INFINITY])('%s, ends its own sequence with its cause', async (value) => {
    const { answers, faults } = await engine.forward(rowsOf([3, 2]), damaging(value));
    const alone = await engine.forward(rowsOf([2]), experts);
    expect(alone.faults).toBeUndefined();
    // Row 0 does not see row 1, and row 2 does: its cause is row 1's.
    expect(faults!.map((fault) => fault?.message)).toEqual([
      undefined,
      expect.stringMatching(/^the sum of experts \d, \d of layer 2 is NaN or beyond float32/),
      faults![1]!.message,
      undefined,
      undefined,
    ]);
    expect(answers.slice(1, 3)).toEqual(faults!.slice(1, 3));
    expect(answers.slice(3)).toEqual(alone.answers);
  });
});
