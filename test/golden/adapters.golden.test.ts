import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { openWasmEngine } from '@shoal/kernels/node';
import type { EngineAdapter, ForwardEngine } from '@shoal/model';
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

  beforeAll(async () => {
    family = await openFamily(name);
    const checkpoint = await openCheckpoint(fixtureDir(name));
    const weights = { reader: checkpoint, format: 'f16' as const };
    const wasm = { config: family.config, weights, threads: 2, adapterBytes: MOST_BYTES };
    engines = [family.engine, await openWasmEngine(wasm)];
    await checkpoint.close();
    opened = new Map(engines.map((engine) => [engine, new Map<string, EngineAdapter>()]));
    for (const adapter of adapters) {
      const { adapter: one } = await readAdapter(join(fixtures, name, adapter), family.config, MOST_BYTES);
      for (const engine of engines) opened.get(engine)!.set(adapter, engine.openAdapter(one));
    }
  });
  afterAll(() => Promise.all(engines.map((engine) => engine.close())));

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
      const { logits } = await engine.forward(rows, family.experts);
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
