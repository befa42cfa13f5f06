import {
  type Adapter,
  ADAPTER_TARGETS,
  AdapterError,
  type AdapterTarget,
  type EngineAdapter,
  type LowRank,
  type Mixture,
} from '@shoal/model';
import { alignUp, lowRankBytes, writeLowRank } from '@shoal/weights';
import type { Bank } from './bank.ts';

/** Outputs of one task, as packages/kernels/wasm/assembly/dense/adapters.ts has them. */
export const OUT_COLUMNS = 512;

/** The number of a layer's matrix in an adapter's directory. */
export function adapterEntry(layer: number, target: AdapterTarget): number {
  return layer * ADAPTER_TARGETS.length + ADAPTER_TARGETS.indexOf(target);
}

interface Part {
  address: number;
  bytes: number;
}

/** Lends parts of a range of a bank's memory, the first that are large enough. */
export class AdapterSpace {
  readonly bank: Bank;
  readonly bytes: number;
  readonly #start: number;
  /** In order of address. */
  readonly #taken: Part[] = [];

  constructor(bank: Bank, bytes: number) {
    this.bank = bank;
    this.bytes = bytes;
    this.#start = bytes > 0 ? bank.reserve(bytes) : 0;
  }

  /** Undefined if no gap is large enough. */
  take(wanted: number): Part | undefined {
    const bytes = alignUp(wanted);
    let address = this.#start;
    let index = 0;
    for (; index < this.#taken.length; index++) {
      const next = this.#taken[index]!;
      if (next.address - address >= bytes) break;
      address = next.address + next.bytes;
    }
    if (address + bytes > this.#start + this.bytes) return undefined;
    const part = { address, bytes };
    this.#taken.splice(index, 0, part);
    return part;
  }

  give(part: Part): void {
    this.#taken.splice(this.#taken.indexOf(part), 1);
  }
}

/** An adapter in the banks: a part of each, with the matrices of its layers. */
export class BankAdapter implements EngineAdapter {
  readonly bytes: number;
  /** Which matrices of which layers it changes, as `adapterEntry` numbers them. */
  readonly entries: ReadonlySet<number>;
  /** Present if its rows have scalings. */
  readonly mixture: Mixture | undefined;
  readonly maxRank: number;
  readonly #parts: readonly { space: AdapterSpace; part: Part }[];
  #isFreed = false;

  /**
   * Writes the adapter's matrices into the spaces of the banks; `bankOf` says which bank has a layer. Throws an AdapterError, with
   * nothing taken, if they don't fit.
   */
  constructor(adapter: Adapter, spaces: readonly AdapterSpace[], bankOf: (layer: number) => number) {
    this.mixture = adapter.mixture;
    this.maxRank = adapter.maxRank;
    this.entries = new Set(
      adapter.layers.flatMap((layer, i) => (Object.keys(layer) as AdapterTarget[]).map((key) => adapterEntry(i, key))),
    );
    const taken: { space: AdapterSpace; part: Part }[] = [];
    for (const [bank, space] of spaces.entries()) {
      const bytes = bytesIn(adapter, (layer) => bankOf(layer) === bank);
      const part = space.take(bytes);
      if (!part) {
        for (const each of taken) each.space.give(each.part);
        throw noRoom(bytes, space);
      }
      taken.push({ space, part });
    }
    for (const [bank, { space, part }] of taken.entries()) {
      write(adapter, (layer) => bankOf(layer) === bank, space.bank, part.address);
    }
    this.#parts = taken;
    this.bytes = taken.reduce((sum, { part }) => sum + part.bytes, 0);
  }

  /** The address of the adapter's directory in a bank. */
  directoryIn(bank: number): number {
    if (this.#isFreed) throw new TypeError('this adapter was freed');
    return this.#parts[bank]!.part.address;
  }

  free(): void {
    if (this.#isFreed) return;
    this.#isFreed = true;
    for (const { space, part } of this.#parts) space.give(part);
  }
}

function noRoom(bytes: number, { bytes: of }: AdapterSpace): AdapterError {
  const remedy = of < bytes ? 'more is needed' : 'unload another adapter, or give more';
  const text = `the adapter takes ${bytes} bytes in a bank whose part of --adapter-memory is ${of}: ${remedy}`;
  return new AdapterError('too-large', text);
}

/** The word of a pair's header with the offset of the numbers of its scalings; 0 without them. */
const SCALINGS_WORD = 3;

function pairBytes(pair: LowRank): number {
  return lowRankBytes(pair) + alignUp(pair.scalings?.byteLength ?? 0);
}

/** 0 in a bank without layers. */
function bytesIn({ layers }: Adapter, isIn: (layer: number) => boolean): number {
  if (!layers.some((_, i) => isIn(i))) return 0;
  const directory = alignUp(layers.length * ADAPTER_TARGETS.length * 4);
  return layers.reduce((sum, layer, i) => {
    if (!isIn(i)) return sum;
    return Object.values(layer).reduce((all, pair) => all + pairBytes(pair), sum);
  }, directory);
}

/** Writes the directory and the matrices of some layers, as packages/kernels/wasm/assembly/dense/adapters.ts reads them. */
function write({ layers }: Adapter, isIn: (layer: number) => boolean, bank: Bank, address: number): void {
  if (!layers.some((_, i) => isIn(i))) return;
  const { i32 } = bank.views;
  const directory = address / 4;
  let at = address + alignUp(layers.length * ADAPTER_TARGETS.length * 4);
  i32.fill(0, directory, at / 4);
  for (const [i, layer] of layers.entries()) {
    if (!isIn(i)) continue;
    for (const [target, pair] of Object.entries(layer)) {
      i32[directory + adapterEntry(i, target as AdapterTarget)] = at;
      writeLowRank(bank.views, at, pair);
      if (pair.scalings) {
        const behind = lowRankBytes(pair);
        i32[at / 4 + SCALINGS_WORD] = behind;
        i32.set(pair.scalings, (at + behind) / 4);
      }
      at += pairBytes(pair);
    }
  }
}
