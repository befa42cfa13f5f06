import {
  createReferenceEngine,
  createRng,
  loadDenseWeights,
  type ExpertDispatch,
  type ForwardEngine,
  type ModelConfig,
  type SequencePages,
} from '@shoal/model';
import { denseFile, packDenseEntry, type DenseFormat, type PackedDense } from '@shoal/weights';
import { afterEach, describe, expect, it } from 'vitest';
import { nmse } from '../../testing/numbers.ts';
import { config, experts, reader } from '../testing/small-model.ts';
import type { WasmEngine } from '../wasm-engine.ts';
import { openWasmEngine } from './open.ts';

/** Experts whose second lap of a pass comes back when told. */
function heldLap(): { experts: ExpertDispatch; reached: Promise<void>; open: () => void } {
  let [open, reach] = [(): void => {}, (): void => {}];
  const opened = new Promise<void>((resolve) => (open = resolve));
  const reached = new Promise<void>((resolve) => (reach = resolve));
  const combine = async (layer: number, x: Float32Array): Promise<Float32Array> => {
    if (layer === 2) {
      reach();
      await opened;
    }
    return x.map((value) => value / 2);
  };
  return { experts: { dispatch: ({ layer, x }) => ({ combine: () => combine(layer, x) }) }, reached, open };
}

const open: (WasmEngine | ForwardEngine)[] = [];
afterEach(async () => {
  for (const engine of open.splice(0)) await engine.close();
});

async function engineWith(
  options: {
    threads?: number;
    bankBytes?: number;
    kvBytes?: number;
    format?: DenseFormat;
    mtpHidden?: ModelConfig['mtpHidden'];
  } = {},
): Promise<WasmEngine> {
  const { format = 'f32', mtpHidden = config.mtpHidden, ...rest } = options;
  const engine = await openWasmEngine({ config: { ...config, mtpHidden }, weights: { reader, format }, ...rest });
  open.push(engine);
  return engine;
}

async function reference(override: Partial<ModelConfig> = {}): Promise<ForwardEngine> {
  return createReferenceEngine({ config: { ...config, ...override }, weights: await loadDenseWeights(config, reader) });
}

const tokens = (count: number, seed = 1): number[] => Array.from({ length: count }, (_, i) => (i * 7 + seed) % 53);

/** Logits of all positions, [count, vocabSize], and hidden states. */
async function read(
  engine: ForwardEngine,
  ids: readonly number[],
  cache = engine.newSequence(),
  dispatch: ExpertDispatch = experts,
) {
  const start = cache.length;
  const rows = ids.map((tokenId, i) => ({ tokenId, position: start + i, cache, wantLogits: true }));
  const { logits, ...states } = await engine.forward(rows, dispatch);
  return { logits: logits.flatMap((row) => [...row!]), ...states, cache };
}

describe('the wasm engine', () => {
  it('computes what the reference computes, the cache in 16 bits', async () => {
    const ids = tokens(70);
    const expected = await read(await reference(), ids);
    const got = await read(await engineWith({ threads: 2 }), ids);
    expect(nmse(got.logits, expected.logits)).toBeLessThan(1e-6);
    expect(nmse(got.hidden, expected.hidden)).toBeLessThan(1e-6);
  });

  it.each(['after-norm', 'before-norm'] as const)(
    'hands on the hidden state %s where the MTP module reads that',
    async (mtpHidden) => {
      const ids = tokens(20);
      const expected = await read(await reference({ mtpHidden }), ids);
      const got = await read(await engineWith({ mtpHidden }), ids);
      expect(nmse(got.hidden, expected.hidden)).toBeLessThan(1e-6);
    },
  );

  it('gives the same bits on the calling thread, on one and on three', async () => {
    const ids = tokens(45);
    const inline = await read(await engineWith({ threads: 0 }), ids);
    for (const threads of [1, 3])
      expect((await read(await engineWith({ threads }), ids)).logits).toEqual(inline.logits);
  });

  it('gives the same bits from several small memories as from one', async () => {
    const ids = tokens(40);
    const kvBytes = 4_000_000;
    const one = await engineWith({ kvBytes });
    const several = await engineWith({ kvBytes, bankBytes: 3_500_000 });
    expect(one.memory.banks).toHaveLength(1);
    expect(several.memory.banks.length).toBeGreaterThan(1);
    expect({ ...(await read(several, ids)), cache: 0 }).toEqual({ ...(await read(one, ids)), cache: 0 });
    await expect(engineWith({ kvBytes, bankBytes: 900_000 })).rejects.toThrow(/bank|memory/);
  });

  it('computes the MTP module too', async () => {
    const ids = tokens(20);
    const results: number[][] = [];
    for (const engine of [await reference(), await engineWith({ threads: 2 })]) {
      const { hidden } = await read(engine, ids);
      const cache = engine.newMtpSequence();
      const rows = ids.slice(1).map((nextTokenId, position) => {
        const row = hidden.slice(position * config.hiddenSize, (position + 1) * config.hiddenSize);
        return { hidden: row, nextTokenId, position, cache, wantLogits: position % 3 === 0 };
      });
      const { logits } = await engine.forwardMtp(rows, experts);
      expect(logits.map((row) => row !== undefined)).toEqual(rows.map((row) => row.wantLogits));
      results.push(logits.flatMap((row) => [...(row ?? [])]));
    }
    expect(nmse(results[1]!, results[0]!)).toBeLessThan(1e-6);
  });

  it('keeps the MTP module’s positions on the pages that a sequence was lent, ahead of it and behind', async () => {
    const ids = tokens(40);
    const own = await engineWith();
    const { hidden } = await read(own, ids);
    const lender = await engineWith();
    lender.lendPages();
    expect(() => lender.newMtpSequence()).toThrow(/mtpSequenceOn/);
    expect(() => own.mtpSequenceOn(new Pages([]), 0)).toThrow(/lendPages/);
    const pages = new Pages([7, 3, 9]);
    const [expected, lent] = [own.newMtpSequence(), lender.mtpSequenceOn(pages, 0)];
    const run = async (from: number, to: number): Promise<void> => {
      const both = [own, lender].map((engine, i) => {
        const cache = [expected, lent][i]!;
        const rows = Array.from({ length: to - from }, (_, r) => ({
          hidden: hidden.slice((from + r) * config.hiddenSize, (from + r + 1) * config.hiddenSize),
          nextTokenId: ids[(from + r + 1) % ids.length]!,
          position: from + r,
          cache,
          wantLogits: true,
        }));
        return engine.forwardMtp(rows, experts);
      });
      const [a, b] = await Promise.all(both);
      expect(b!.logits).toEqual(a!.logits);
    };
    await run(0, 20);
    expect([lent.length, pages.reached, pages.length]).toEqual([20, 20, 0]);
    await run(20, 35);
    for (const cache of [expected, lent]) cache.truncate(10);
    expect(() => lent.truncate(11)).toThrow(RangeError);
    await run(10, 30);
    // Somebody else's on the same pages goes on from what is there.
    const again = lender.mtpSequenceOn(pages, 16);
    expect(again.length).toBe(16);
    lent.free();
    expect(lent.length).toBe(0);
  });

  it('lets sequences share the pages of a common beginning, and writes to none of them', async () => {
    const engine = await engineWith();
    const first = engine.newSequence();
    await read(engine, tokens(40), first);
    const expected = await read(engine, [...tokens(32), 9, 8, 7], engine.newSequence());
    const usedBefore = engine.memory.pool.bytesInUse;
    const second = first.fork(37);
    expect(second.length).toBe(32);
    const got = await read(engine, [9, 8, 7], second);
    expect(got.logits).toEqual(expected.logits.slice(32 * 53));
    expect(engine.memory.pool.bytesInUse - usedBefore).toBe(engine.memory.pool.bytesPerPage);
    // Back into a shared page: it is copied before it is written to.
    second.truncate(20);
    const other = await read(engine, tokens(6, 30), second);
    const alone = await read(engine, [...tokens(20), ...tokens(6, 30)], engine.newSequence());
    expect(other.logits).toEqual(alone.logits.slice(20 * 53));
    const last = await read(engine, [5], first);
    expect(last.logits).toEqual((await read(engine, [...tokens(40), 5], engine.newSequence())).logits.slice(40 * 53));
  });

  it('leaves every cache as it was when a pass fails, and goes on', async () => {
    const engine = await engineWith();
    const cache = engine.newSequence();
    await read(engine, tokens(5), cache);
    const broken: ExpertDispatch = { dispatch: () => ({ combine: () => Promise.reject(new Error('no tab')) }) };
    const row = { tokenId: 3, position: 5, cache, wantLogits: true };
    await expect(engine.forward([row], broken)).rejects.toThrow('no tab');
    expect(cache.length).toBe(5);
    const again = await read(engine, [3], cache);
    expect(again.logits).toEqual((await read(engine, [...tokens(5), 3])).logits.slice(5 * 53));
  });

  it('computes a pass while another awaits its lap, each with the bits that it has alone', async () => {
    const engine = await engineWith({ threads: 2 });
    const long = await read(engine, tokens(30));
    const short = await read(engine, tokens(7, 5));
    expect(engine.memory.workspacesOf(0)).toHaveLength(1);
    const lap = heldLap();
    const held = read(engine, tokens(30), engine.newSequence(), lap.experts);
    await lap.reached;
    // Whole, from the first layer to the head, within one lap of the other.
    const meanwhile = await read(engine, tokens(7, 5));
    lap.open();
    expect(meanwhile.logits).toEqual(short.logits);
    expect((await held).logits).toEqual(long.logits);
    expect((await held).hidden).toEqual(long.hidden);
    expect(engine.memory.workspacesOf(0)).toHaveLength(2);
  });

  it('gives each of several overlapping sequences its own bits, whatever the order of laps', async () => {
    const engine = await engineWith({ threads: 2, kvBytes: 4_000_000, bankBytes: 4_500_000 });
    expect(engine.memory.banks.length).toBeGreaterThan(1);
    const prompts = [tokens(90), tokens(3, 2), tokens(17, 3), tokens(33, 4)];
    const alone: number[][] = [];
    for (const ids of prompts) alone.push((await read(engine, ids)).logits);
    const rng = createRng(11);
    /** Laps that come back after a few turns of the event loop. */
    const jittery: ExpertDispatch = {
      dispatch: (call) => ({
        combine: async () => {
          for (let turns = Math.floor(rng() * 6); turns > 0; turns--) await new Promise(setImmediate);
          return call.x.map((value) => value / 2);
        },
      }),
    };
    const inPieces = async (ids: readonly number[]): Promise<number[]> => {
      const cache = engine.newSequence();
      const logits: number[] = [];
      for (let at = 0; at < ids.length;) {
        const piece = ids.slice(at, at + 1 + Math.floor(rng() * 40));
        logits.push(...(await read(engine, piece, cache, jittery)).logits);
        at += piece.length;
      }
      cache.free();
      return logits;
    };
    for (let round = 0; round < 3; round++) expect(await Promise.all(prompts.map(inPieces))).toEqual(alone);
  });

  it('goes on with one pass when another fails', async () => {
    const engine = await engineWith({ threads: 2 });
    const expected = await read(engine, tokens(12));
    const cache = engine.newSequence();
    const lap = heldLap();
    const goesOn = read(engine, tokens(12), engine.newSequence(), lap.experts);
    await lap.reached;
    const broken: ExpertDispatch = { dispatch: () => ({ combine: () => Promise.reject(new Error('no tab')) }) };
    await expect(read(engine, tokens(5), cache, broken)).rejects.toThrow('no tab');
    expect(cache.length).toBe(0);
    lap.open();
    expect((await goesOn).logits).toEqual(expected.logits);
  });

  it('lets passes take turns where the memory holds the workspace of one only', async () => {
    const kvBytes = 500_000;
    const roomy = await engineWith({ kvBytes });
    const expected = await read(roomy, tokens(90));
    const [{ address, bytes } = { address: 0, bytes: 0 }] = roomy.memory.workspacesOf(0);
    const tight = await engineWith({ kvBytes, bankBytes: address + Math.floor(bytes * 1.5) });
    const both = [1, 2].map(() => read(tight, tokens(90)));
    for (const { logits } of await Promise.all(both)) expect(logits).toEqual(expected.logits);
    expect(tight.memory.workspacesOf(0)).toHaveLength(1);
  });

  it('refuses a sequence that is in another pass, which goes on', async () => {
    for (const engine of [await engineWith(), await reference()]) {
      const cache = engine.newSequence();
      const lap = heldLap();
      const first = read(engine, tokens(4), cache, lap.experts);
      await lap.reached;
      await expect(read(engine, [9], cache)).rejects.toThrow(/in another pass/);
      lap.open();
      await first;
      expect(cache.length).toBe(4);
      await read(engine, [9], cache);
    }
  });

  it('refuses tokens, positions and sequences that are not its own, and a full cache, before anything has changed', async () => {
    const engine = await engineWith({ kvBytes: 1 });
    const cache = engine.newSequence();
    const row = { tokenId: 1, position: 0, cache };
    await expect(engine.forward([{ ...row, tokenId: 53 }], experts)).rejects.toThrow(/token 53/);
    await expect(engine.forward([{ ...row, position: 1 }], experts)).rejects.toThrow(/position 1/);
    const stranger = (await engineWith()).newSequence();
    await expect(engine.forward([{ ...row, cache: stranger }], experts)).rejects.toThrow(/another engine/);
    await read(engine, tokens(16), cache);
    await expect(read(engine, [1], cache)).rejects.toThrow(/--kv-memory/);
    expect(cache.length).toBe(16);
    cache.free();
    expect(engine.memory.pool.bytesInUse).toBe(0);
    await read(engine, tokens(16), engine.newSequence());
  });

  it('ends with an error that says so when a thread dies, and hangs no caller', async () => {
    const engine = await engineWith({ threads: 2 });
    const cache = engine.newSequence();
    await read(engine, tokens(4), cache);
    const dying: ExpertDispatch = {
      dispatch: (call) => ({
        combine: async () => {
          // A page table that leads out of the memory: the kernels trap.
          const { i32 } = engine.memory.banks[0]!.views;
          for (const { rowTable } of engine.memory.workspacesOf(0)) i32[rowTable / 4 + 1] = -65_536;
          return new Float32Array(call.x.length);
        },
      }),
    };
    const row = { tokenId: 3, position: 4, cache, wantLogits: true };
    await expect(engine.forward([row], dying)).rejects.toThrow(/thread of the dense engine has died/);
    await expect(read(engine, [1])).rejects.toThrow(/thread of the dense engine has died/);
  });

  it('takes packed weights as they are, and passes on why they cannot be read', async () => {
    const bytes = await packWhole('q8');
    const { layout } = denseFile(config, 'q8');
    const weights: PackedDense = {
      layout,
      read: async ({ offset }, target) => target.set(bytes.subarray(offset, offset + target.byteLength)),
    };
    const engine = await openWasmEngine({ config, weights });
    open.push(engine);
    const ids = tokens(20);
    expect((await read(engine, ids)).logits).toEqual((await read(await engineWith({ format: 'q8' }), ids)).logits);
    const spoilt = { layout, read: () => Promise.reject(new Error('spoilt on disk')) };
    await expect(openWasmEngine({ config, weights: spoilt })).rejects.toThrow('spoilt on disk');
  });
});

/** Pages that a caller gave out. */
class Pages implements SequencePages {
  readonly length = 0;
  readonly tables: SequencePages['tables'];
  reached = 0;
  constructor(pages: readonly number[]) {
    this.tables = [{ first: 0, pages }];
  }
  reach(length: number): void {
    this.reached = length;
  }
  append(): never {
    throw new Error('only the main model’s positions are appended');
  }
  truncate(): never {
    throw new Error('only the main model’s positions are truncated');
  }
  close(): void {}
}

async function packWhole(format: DenseFormat): Promise<Uint8Array> {
  const { layout, header } = denseFile(config, format);
  const out = new Uint8Array(layout.totalBytes);
  out.set(header);
  for (const entry of layout.segments.flatMap(({ entries }) => entries)) {
    const { tensor } = entry.source;
    const values = await reader.read(tensor);
    const columns = tensor.shape[1] ?? 1;
    let at = entry.offset;
    const rows = async (start: number, count: number) => values.subarray(start * columns, (start + count) * columns);
    await packDenseEntry(config, entry, rows, (bytes) => {
      out.set(bytes, at);
      at += bytes.byteLength;
    });
  }
  return out;
}
