import {
  createReferenceSeq2Seq,
  type ExpertDispatch,
  type ForwardEngine,
  loadSeq2SeqWeights,
  type ModelConfig,
  NO_EXPERT,
  type SequenceCache,
  type TensorReader,
} from '@shoal/model';
import { afterEach, describe, expect, it } from 'vitest';
import { nmse } from '../../testing/numbers.ts';
import { encoderDecoders, reader as large } from '../testing/small-model.ts';
import type { WasmEngine } from '../wasm-engine.ts';
import { openWasmEngine, type WasmEngineOptions } from './open.ts';

/** Queries that are small enough for T5's scores, which are not scaled, to bear that keys are kept in 16 bits. */
const reader: TensorReader = {
  read: async (spec) => {
    const values = await large.read(spec);
    return spec.name.includes('q_proj.weight') ? values.map((value) => value / 4) : values;
  },
};

const open: ForwardEngine[] = [];
afterEach(async () => {
  for (const engine of open.splice(0)) await engine.close();
});

async function wasm(config: ModelConfig, options: Partial<WasmEngineOptions> = {}): Promise<WasmEngine> {
  const weights = { reader, format: 'f32' } as const;
  const engine = await openWasmEngine({ config, weights, threads: 2, kvBytes: 2 ** 20, ...options });
  open.push(engine);
  return engine;
}

/** Experts that differ, so that a row without one, or with another's, shows. */
const experts: ExpertDispatch = {
  dispatch: ({ x, numRows, topkIdx, topkWeights }) => ({
    combine: async () => {
      const [perRow, size] = [topkIdx.length / numRows, x.length / numRows];
      return x.map((value, i) => {
        const first = Math.floor(i / size) * perRow;
        let sum = 0;
        for (let a = first; a < first + perRow; a++) {
          if (topkIdx[a] !== NO_EXPERT) sum += topkWeights[a]! * (1 + topkIdx[a]!) * value;
        }
        return sum;
      });
    },
  }),
};

/** Of different lengths, longer than a page and than the reach of biases. */
const SOURCES = [40, 3, 17, 64].map((length, i) => Array.from({ length }, (_, t) => 2 + ((t * (7 + i) + i) % 50)));
const targetOf = (i: number): number[] =>
  Array.from({ length: 6 + 7 * i }, (_, t) => (t === 0 ? 0 : 2 + ((t * 11 + i) % 50)));

interface Pass {
  i: number;
  count: number;
}

/** Logits of every row of the targets [sources][rows], in passes of so many rows of some of them. */
async function logitsOf(
  engine: ForwardEngine,
  encoded: readonly (readonly number[])[],
  passes: readonly (readonly Pass[])[],
): Promise<Float32Array[][]> {
  const caches = SOURCES.map(() => engine.newSequence());
  for (const together of encoded) {
    await engine.encodeSources!(
      together.map((i) => ({ ids: SOURCES[i]!, cache: caches[i]! })),
      experts,
    );
  }
  const logits: Float32Array[][] = SOURCES.map(() => []);
  for (const pass of passes) {
    const rows = pass.flatMap(({ i, count }) => rowsOf(caches[i]!, i, count));
    const result = await engine.forward(rows, experts);
    expect(result.faults).toBeUndefined();
    for (const [r, { of }] of rows.entries()) logits[of]!.push(result.logits[r]!);
  }
  for (const cache of caches) cache.free();
  return logits;
}

function rowsOf(cache: SequenceCache, i: number, count: number) {
  const first = cache.length;
  return Array.from({ length: count }, (_, r) => {
    const tokenId = targetOf(i)[first + r - SOURCES[i]!.length]!;
    return { tokenId, position: first + r, cache, wantLogits: true, of: i };
  });
}

const ALL = SOURCES.map((_, i) => i);
const WHOLE = [ALL.map((i) => ({ i, count: targetOf(i).length }))];
/** One row of each that has any left. */
const STEPS = Array.from({ length: targetOf(3).length }, (_, t) =>
  ALL.filter((i) => t < targetOf(i).length).map((i) => ({ i, count: 1 })),
);
const ALONE = ALL.map((i) => [{ i, count: targetOf(i).length }]);

describe.each(Object.entries(encoderDecoders))('the wasm engine of %s', (_, config) => {
  it('computes what the reference does, rows without experts included', async () => {
    const reference = createReferenceSeq2Seq({ config, weights: await loadSeq2SeqWeights(config, reader) });
    const expected = await logitsOf(reference, [ALL], WHOLE);
    const computed = await logitsOf(await wasm(config), [ALL], WHOLE);
    for (const [i, rows] of expected.entries()) {
      for (const [r, row] of rows.entries()) expect(nmse(computed[i]![r]!, row), `row ${r} of ${i}`).toBeLessThan(1e-6);
    }
  });

  it('gives each row the same bits in any pass, in one memory or several, on any number of threads', async () => {
    const engine = await wasm(config);
    const whole = await logitsOf(engine, [ALL], WHOLE);
    expect(await logitsOf(engine, [ALL], STEPS)).toEqual(whole);
    expect(await logitsOf(engine, [[3], [0, 2], [1]], ALONE)).toEqual(whole);
    const narrow = await wasm(config, { threads: 1, kvBytes: 2 ** 22, bankBytes: 3_500_000 });
    expect(narrow.memory.banks.length).toBeGreaterThan(1);
    expect(await logitsOf(narrow, [ALL], STEPS)).toEqual(whole);
    expect(engine.memory.pool.bytesInUse).toBe(0);
  });
});
