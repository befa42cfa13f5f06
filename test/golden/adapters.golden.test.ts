import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { openWasmEngine } from '@shoal/kernels/node';
import {
  type Adapter,
  computeScalings,
  type EngineAdapter,
  type ExpertAdapters,
  type ExpertDispatch,
  type ExpertWeights,
  type ForwardEngine,
  loadExpert,
  type LowRank,
  moeLayers,
  runExpert,
  type SequenceCache,
} from '@shoal/model';
import { openCheckpoint, readAdapter } from '@shoal/model/node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Family, fixtureDir, openFamily, readTensors } from './families.ts';
import { nmse } from './tiny-stories.ts';

const fixtures = join(import.meta.dirname, 'fixtures/adapters');
const mixtures = join(import.meta.dirname, 'fixtures/xlora');
const MOST_BYTES = 2 ** 20;

const foldersOf = (dir: string): string[] =>
  readdirSync(dir, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name);

/** What is added to routed experts of one row. */
type Added = readonly { experts: ExpertAdapters; scale: number }[];

/** A model of a fixture in both engines, and adapters loaded in each. */
class AdaptedModel {
  readonly family: Family;
  /** The reference, and the one in WebAssembly. */
  readonly engines: readonly [ForwardEngine, ForwardEngine];
  readonly adapters: ReadonlyMap<string, Adapter>;
  readonly #opened: ReadonlyMap<ForwardEngine, ReadonlyMap<string, EngineAdapter>>;
  /** By layer, then by expert. */
  readonly #weights: ReadonlyMap<number, readonly ExpertWeights[]>;

  private constructor(
    family: Family,
    wasm: ForwardEngine,
    adapters: ReadonlyMap<string, Adapter>,
    weights: ReadonlyMap<number, readonly ExpertWeights[]>,
  ) {
    this.family = family;
    this.engines = [family.engine, wasm];
    this.adapters = adapters;
    this.#weights = weights;
    this.#opened = new Map(
      this.engines.map((engine) => [
        engine,
        new Map([...adapters].map(([key, adapter]) => [key, engine.openAdapter(adapter)])),
      ]),
    );
  }

  /** `dir` has a folder for each adapter. */
  static async open(name: string, dir: string): Promise<AdaptedModel> {
    const family = await openFamily(name);
    const checkpoint = await openCheckpoint(fixtureDir(name));
    const { config } = family;
    const packed = { reader: checkpoint, format: 'f16' as const };
    const wasm = await openWasmEngine({ config, weights: packed, threads: 2, adapterBytes: MOST_BYTES });
    const weights = new Map<number, ExpertWeights[]>();
    for (const layer of moeLayers(config)) {
      const all = Array.from({ length: config.nRoutedExperts }, (_, e) => loadExpert(config, checkpoint, layer, e));
      weights.set(layer, await Promise.all(all));
    }
    await checkpoint.close();
    const adapters = new Map<string, Adapter>();
    for (const adapter of foldersOf(dir)) {
      adapters.set(adapter, (await readAdapter(join(dir, adapter), config, MOST_BYTES)).adapter);
    }
    return new AdaptedModel(family, wasm, adapters, weights);
  }

  async close(): Promise<void> {
    await Promise.all(this.engines.map((engine) => engine.close()));
  }

  opened(engine: ForwardEngine, adapter: string | undefined): EngineAdapter | undefined {
    return adapter === undefined ? undefined : this.#opened.get(engine)!.get(adapter)!;
  }

  /** Routed experts with what is added to each row's, in float32 with sums in float64. */
  experts(added: readonly Added[]): ExpertDispatch {
    const combine = async (call: Parameters<ExpertDispatch['dispatch']>[0]): Promise<Float32Array> => {
      const { layer, numRows, x, topkIdx, topkWeights } = call;
      const [dim, perRow] = [x.length / numRows, topkIdx.length / numRows];
      const sums = new Float32Array(x.length);
      for (const [a, expert] of topkIdx.entries()) {
        const row = Math.floor(a / perRow);
        const add = (part: string, from: Float32Array, y: Float32Array): Float32Array => {
          for (const { experts, scale } of added[row] ?? []) {
            addTo(experts.get(layer)?.get(expert)?.[part as 'gate'], scale, from, y);
          }
          return y;
        };
        const own = this.#weights.get(layer)![expert]!;
        const y = runExpert('swiglu', x.slice(row * dim, (row + 1) * dim), own, 1, dim, { add });
        for (let i = 0; i < dim; i++) sums[row * dim + i]! += topkWeights[a]! * y[i]!;
      }
      return sums;
    };
    return { dispatch: (call) => ({ combine: () => combine(call) }) };
  }
}

/** y += scale · B (A x), where there is something to add. */
function addTo(pair: LowRank | undefined, scale: number, x: Float32Array, y: Float32Array): void {
  if (!pair) return;
  const { rank, inDim, outDim, a, b } = pair;
  const inner = Array.from({ length: rank }, (_, k) => x.reduce((sum, value, i) => sum + value * a[k * inDim + i]!, 0));
  for (let o = 0; o < outDim; o++)
    y[o] = y[o]! + scale * inner.reduce((sum, value, k) => sum + value * b[o * rank + k]!, 0);
}

const firstDifference = (a: Float32Array, b: Float32Array): number =>
  a.findIndex((value, at) => !Object.is(value, b[at]));

describe.each(readdirSync(fixtures))('adapters of %s', (name) => {
  const dir = join(fixtures, name);
  const adapters = foldersOf(dir);
  const read = readTensors(join(dir, 'reference.safetensors'));
  const ids = Array.from(read('ids'));
  let model: AdaptedModel;

  beforeAll(async () => (model = await AdaptedModel.open(name, dir)));
  afterAll(() => model.close());

  /** The logits of the text under each adapter, all in the same passes of at most `chunk` rows of each. */
  async function run(engine: ForwardEngine, under: readonly (string | undefined)[], chunk: number) {
    const streams = under.map((name) => {
      const { experts = new Map() } = model.adapters.get(name ?? '') ?? {};
      const adapter = model.opened(engine, name);
      return { cache: engine.newSequence(), adapter, added: [{ experts, scale: 1 }], logits: [] as number[] };
    });
    for (let start = 0; start < ids.length; start += chunk) {
      const rows = streams.flatMap(({ cache, adapter }, stream) =>
        ids.slice(start, start + chunk).map((tokenId, i) => {
          return { stream, tokenId, position: start + i, cache, adapter, wantLogits: true };
        }),
      );
      const experts = model.experts(rows.map(({ stream }) => streams[stream]!.added));
      const { logits } = await engine.forward(rows, experts);
      for (const [r, { stream }] of rows.entries()) streams[stream]!.logits.push(...logits[r]!);
    }
    for (const { cache } of streams) cache.free();
    return streams.map(({ logits }) => Float32Array.from(logits));
  }

  it.each(adapters)(
    '%s has PEFT’s logits, merged and not (NMSE ≤ 1e-8, and ≤ 1e-5 in WebAssembly)',
    async (adapter) => {
      for (const [i, most] of [1e-8, 1e-5].entries()) {
        const [logits] = await run(model.engines[i]!, [adapter], ids.length);
        expect(nmse(logits!, read(adapter))).toBeLessThanOrEqual(most);
        expect(nmse(logits!, read(`${adapter}.merged`))).toBeLessThanOrEqual(most);
      }
    },
  );

  it('gives rows of three adapters and none in one batch the bits that each has alone', async () => {
    const under = [...adapters, undefined];
    for (const engine of model.engines) {
      const together = await run(engine, under, 7);
      for (const [i, adapter] of under.entries()) {
        for (const chunk of [ids.length, 1]) {
          const [alone] = await run(engine, [adapter], chunk);
          expect(firstDifference(together[i]!, alone!)).toBe(-1);
        }
      }
    }
  });
});

describe.each(readdirSync(mixtures))('mixtures of adapters of %s', (name) => {
  const dir = join(mixtures, name);
  const names = foldersOf(dir);
  const read = readTensors(join(dir, 'reference.safetensors'));
  const ids = Array.from(read('ids'));
  let model: AdaptedModel;

  beforeAll(async () => (model = await AdaptedModel.open(name, dir)));
  afterAll(() => model.close());

  interface Stream {
    first: SequenceCache;
    second: SequenceCache;
    name: string | undefined;
    scalings: number[];
    logits: number[];
  }

  /** One step of all streams: the first pass of those with a mixture, and the second of all. */
  async function step(engine: ForwardEngine, streams: readonly Stream[], start: number, count: number): Promise<void> {
    const rows = streams.flatMap((stream) =>
      ids.slice(start, start + count).map((tokenId, i) => ({ stream, tokenId, position: start + i })),
    );
    const mixed = rows.filter(({ stream }) => stream.name !== undefined);
    const first = mixed.map(({ stream, ...row }) => {
      const { mixture } = model.adapters.get(stream.name!)!;
      return { ...row, mixture: mixture!, cache: stream.first, adapter: model.opened(engine, stream.name) };
    });
    const found = first.length > 0 ? (await computeScalings(engine, first, model.experts([]))).scalings : [];
    const scalings = rows.map((row) => found[mixed.indexOf(row)]);
    const added = rows.map(({ stream }, r): Added => {
      const own = model.adapters.get(stream.name ?? '')?.mixture?.experts ?? [];
      return own.map((experts, i) => ({ experts, scale: scalings[r]![i]! }));
    });
    const second = rows.map(({ stream, ...row }, r) => {
      const adapter = model.opened(engine, stream.name);
      return { ...row, cache: stream.second, adapter, scalings: scalings[r], wantLogits: true };
    });
    const { logits } = await engine.forward(second, model.experts(added));
    for (const [r, { stream }] of rows.entries()) {
      stream.logits.push(...logits[r]!);
      stream.scalings.push(...(scalings[r] ?? []));
    }
  }

  /** Logits and scalings of the text under each mixture, in passes of at most `chunk` rows of each. */
  async function run(engine: ForwardEngine, under: readonly (string | undefined)[], chunk: number) {
    const streams = under.map((each): Stream => {
      const caches = { first: engine.newSequence(), second: engine.newSequence() };
      return { ...caches, name: each, scalings: [], logits: [] };
    });
    for (let start = 0; start < ids.length; start += chunk) await step(engine, streams, start, chunk);
    for (const { first, second } of streams) [first, second].forEach((cache) => cache.free());
    return streams.map((each) => {
      return { logits: Float32Array.from(each.logits), scalings: Float32Array.from(each.scalings) };
    });
  }

  it.each(names)(
    '%s has PEFT’s scalings and logits, though it is computed token by token (NMSE ≤ 1e-6)',
    async (mixture) => {
      for (const [i, [most, chunk]] of (
        [
          [1e-8, 1],
          [1e-6, 1],
        ] as const
      ).entries()) {
        const [own] = await run(model.engines[i]!, [mixture], chunk);
        expect(own!.scalings.length).toBe(read(`${mixture}.scalings`).length);
        expect(nmse(own!.scalings, read(`${mixture}.scalings`))).toBeLessThanOrEqual(most);
        expect(nmse(own!.logits, read(mixture))).toBeLessThanOrEqual(most);
      }
    },
  );

  it('gives rows of all mixtures and none in one batch the bits that each has alone', async () => {
    const under = [...names, undefined];
    for (const engine of model.engines) {
      const together = await run(engine, under, 7);
      for (const [i, mixture] of under.entries()) {
        const [alone] = await run(engine, [mixture], ids.length);
        expect(firstDifference(together[i]!.logits, alone!.logits)).toBe(-1);
        expect(firstDifference(together[i]!.scalings, alone!.scalings)).toBe(-1);
      }
    }
  });
});
