import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { openWasmEngine } from '@shoal/kernels/node';
import {
  type Adapter,
  type EngineAdapter,
  type ExpertDispatch,
  type ExpertWeights,
  type ForwardEngine,
  loadExpert,
  type LowRank,
  moeLayers,
  runExpert,
} from '@shoal/model';
import { openCheckpoint, readAdapter } from '@shoal/model/node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Family, fixtureDir, openFamily, readTensors } from './families.ts';
import { nmse } from './tiny-stories.ts';

const fixtures = join(import.meta.dirname, 'fixtures/adapters');
const MOST_BYTES = 2 ** 20;

describe.each(readdirSync(fixtures))('adapters of %s', (name) => {
  const adapters = readdirSync(join(fixtures, name), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name);
  const read = readTensors(join(fixtures, name, 'reference.safetensors'));
  const ids = Array.from(read('ids'));
  let family: Family;
  let engines: ForwardEngine[];
  let opened: Map<ForwardEngine, Map<string, EngineAdapter>>;
  const own = new Map<string, Adapter>();
  /** By layer, then by expert. */
  const weights = new Map<number, ExpertWeights[]>();

  beforeAll(async () => {
    family = await openFamily(name);
    const checkpoint = await openCheckpoint(fixtureDir(name));
    const { config } = family;
    const packed = { reader: checkpoint, format: 'f16' as const };
    const wasm = { config, weights: packed, threads: 2, adapterBytes: MOST_BYTES };
    engines = [family.engine, await openWasmEngine(wasm)];
    for (const layer of moeLayers(config)) {
      const all = Array.from({ length: config.nRoutedExperts }, (_, e) => loadExpert(config, checkpoint, layer, e));
      weights.set(layer, await Promise.all(all));
    }
    await checkpoint.close();
    opened = new Map(engines.map((engine) => [engine, new Map<string, EngineAdapter>()]));
    for (const adapter of adapters) {
      const { adapter: one } = await readAdapter(join(fixtures, name, adapter), family.config, MOST_BYTES);
      own.set(adapter, one);
      for (const engine of engines) opened.get(engine)!.set(adapter, engine.openAdapter(one));
    }
  });
  afterAll(() => Promise.all(engines.map((engine) => engine.close())));

  /** Routed experts with what the rows' adapters add to them, in float32 with sums in float64. */
  function expertsUnder(adapters: readonly (string | undefined)[]): ExpertDispatch {
    const combine = async (call: Parameters<ExpertDispatch['dispatch']>[0]): Promise<Float32Array> => {
      const { layer, numRows, x, topkIdx, topkWeights } = call;
      const [dim, perRow] = [x.length / numRows, topkIdx.length / numRows];
      const sums = new Float32Array(x.length);
      for (const [a, expert] of topkIdx.entries()) {
        const row = Math.floor(a / perRow);
        const adapter = own
          .get(adapters[row] ?? '')
          ?.experts.get(layer)
          ?.get(expert);
        const add = (part: string, from: Float32Array, y: Float32Array): Float32Array =>
          addTo(adapter?.[part as keyof typeof adapter], from, y);
        const y = runExpert('swiglu', x.slice(row * dim, (row + 1) * dim), weights.get(layer)![expert]!, 1, dim, {
          add,
        });
        for (let i = 0; i < dim; i++) sums[row * dim + i]! += topkWeights[a]! * y[i]!;
      }
      return sums;
    };
    return { dispatch: (call) => ({ combine: () => combine(call) }) };
  }

  /** The logits of the text under each adapter, all in the same passes of at most `chunk` rows of each. */
  async function run(engine: ForwardEngine, under: readonly (string | undefined)[], chunk: number) {
    const streams = under.map((adapter) => {
      return {
        cache: engine.newSequence(),
        adapter: adapter && opened.get(engine)!.get(adapter)!,
        logits: [] as number[],
      };
    });
    for (let start = 0; start < ids.length; start += chunk) {
      const rows = streams.flatMap(({ cache, adapter }, stream) =>
        ids.slice(start, start + chunk).map((tokenId, i) => {
          return { stream, tokenId, position: start + i, cache, adapter: adapter || undefined, wantLogits: true };
        }),
      );
      const experts = expertsUnder(rows.map(({ stream }) => under[stream]));
      const { logits } = await engine.forward(rows, experts);
      for (const [r, { stream }] of rows.entries()) streams[stream]!.logits.push(...logits[r]!);
    }
    for (const { cache } of streams) cache.free();
    return streams.map(({ logits }) => Float32Array.from(logits));
  }

  it.each(adapters)(
    '%s has PEFT’s logits, merged and not (NMSE ≤ 1e-8, and ≤ 1e-5 in WebAssembly)',
    async (adapter) => {
      for (const [engine, most] of [
        [engines[0]!, 1e-8],
        [engines[1]!, 1e-5],
      ] as const) {
        const [logits] = await run(engine, [adapter], ids.length);
        expect(nmse(logits!, read(adapter))).toBeLessThanOrEqual(most);
        expect(nmse(logits!, read(`${adapter}.merged`))).toBeLessThanOrEqual(most);
      }
    },
  );

  it('gives rows of three adapters and none in one batch the bits that each has alone', async () => {
    const under = [...adapters, undefined];
    for (const engine of engines) {
      const together = await run(engine, under, 7);
      for (const [i, adapter] of under.entries()) {
        for (const chunk of [ids.length, 1]) {
          const [alone] = await run(engine, [adapter], chunk);
          expect(together[i]!.findIndex((value, at) => !Object.is(value, alone![at]))).toBe(-1);
        }
      }
    }
  });
});

/** y += B (A x), where there is something to add. */
function addTo(pair: LowRank | undefined, x: Float32Array, y: Float32Array): Float32Array {
  if (!pair) return y;
  const { rank, inDim, outDim, a, b } = pair;
  const inner = Array.from({ length: rank }, (_, k) => x.reduce((sum, value, i) => sum + value * a[k * inDim + i]!, 0));
  for (let o = 0; o < outDim; o++) y[o] = y[o]! + inner.reduce((sum, value, k) => sum + value * b[o * rank + k]!, 0);
  return y;
}
