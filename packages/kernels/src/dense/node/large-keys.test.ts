import { createReferenceEngine, loadDenseWeights, type ModelConfig, type TensorReader } from '@shoal/model';
import type { DenseFormat } from '@shoal/weights';
import { afterEach, describe, expect, it } from 'vitest';
import { nmse } from '../../testing/numbers.ts';
import { config as mla, enlarged, experts, gqa, reader } from '../testing/small-model.ts';
import type { WasmEngine } from '../wasm-engine.ts';
import { openWasmEngine } from './open.ts';

const open: WasmEngine[] = [];
afterEach(async () => {
  for (const engine of open.splice(0)) await engine.close();
});

async function logitsOf(config: ModelConfig, weights: TensorReader, format?: DenseFormat): Promise<number[]> {
  const wasm = format && (await openWasmEngine({ config, weights: { reader: weights, format }, threads: 0 }));
  if (wasm) open.push(wasm);
  const engine = wasm ?? createReferenceEngine({ config, weights: await loadDenseWeights(config, weights) });
  const cache = engine.newSequence();
  const rows = Array.from({ length: 40 }, (_, position) => {
    return { tokenId: (position * 7 + 1) % 53, position, cache, wantLogits: true };
  });
  return (await engine.forward(rows, experts)).logits.flatMap((row) => [...row!]);
}

describe.each([
  ['MLA', mla],
  ['GQA', gqa],
])('keys and values beyond f16 in %s', (_, config) => {
  it('are cached with the precision of small ones', async () => {
    const expected = await logitsOf(config, reader);
    expect(await logitsOf(config, enlarged(config))).toEqual(expected);
    const small = await logitsOf(config, reader, 'f32');
    const large = await logitsOf(config, enlarged(config), 'f32');
    expect(nmse(large, expected)).toBeLessThan(1.1 * nmse(small, expected));
    expect(nmse(small, expected)).toBeLessThan(1e-6);
  });
});
