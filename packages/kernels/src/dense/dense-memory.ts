import {
  type Adapter,
  type DraftVocabulary,
  type HeadConfig,
  type KvPaging,
  kvPaging,
  kvWidth,
  type ModelConfig,
  numDecoderLayers,
  onePageTable,
  pageTablesOfLayers,
} from '@shoal/model';
import { type DenseEntry, type DenseLayout, type DenseSegment, HEAD_SEGMENT, unpackPanelRow } from '@shoal/weights';
import { AdapterSpace, BankAdapter } from './adapter-space.ts';
import { Bank, MAX_BANK_BYTES } from './bank.ts';
import { BYTES_PER_VALUE, EXPONENT_BYTES, PAGE_POSITIONS, type PageCopier, PagePool, pageBytes } from './kv-pages.ts';
import { biasTableBytes, PositionBias } from './position-bias.ts';
import type { Matrix } from './program.ts';
import { WorkspacePool } from './workspace-pool.ts';
import type { Workspace, WorkspaceRoom } from './workspace.ts';

export interface DenseMemoryOptions {
  /** Size of the main model's KV cache. */
  kvBytes: number;
  threads: number;
  /** For adapters; none can be loaded by default. */
  adapterBytes?: number | undefined;
  /** Limit of one bank, which tests lower. */
  bankBytes?: number | undefined;
  shared: boolean;
  /** A head that reads the model's hidden states, and where its weights lie. */
  head?: HeadLayout | undefined;
}

export interface HeadLayout {
  config: HeadConfig;
  vocabulary: DraftVocabulary;
  layout: DenseLayout;
}

/** Whose KV cache: the main model's, its MTP module's, or a head's. The last two are on the pages of the first. */
export type KvKind = 'main' | 'mtp' | 'head';

/** A bank keeps at least this share of its limit for workspaces of large passes, and of several at a time. */
const SPARE_SHARE = 0.1;

interface Place {
  bank: number;
  address: number;
}

/**
 * The memory of the dense engine's kernels: one bank, or several if 4 GiB don't hold everything. A segment of weights (a layer)
 * and that layer's KV cache are each in a single bank.
 */
export class DenseMemory {
  readonly config: ModelConfig;
  readonly banks: Bank[] = [];
  /** Which layers the main model's pages hold. */
  readonly paging: KvPaging;
  /** The main model's pages, each of which has a place in every bank. */
  readonly pool: PagePool;
  /** Pages of the MTP module's one layer. */
  readonly mtpPool: PagePool | undefined;
  readonly head: (HeadLayout & { pool: PagePool }) | undefined;
  readonly segments: readonly DenseSegment[];
  readonly #segmentPlace = new Map<string, Place>();
  readonly #entries = new Map<string, { entry: DenseEntry; place: Place }>();
  readonly #kv: { base: number; pageBytes: number }[] = [];
  /** By main layer. */
  readonly #pageTables: readonly number[];
  readonly #layerOffset = new Map<number, number>();
  /** By bank, of an encoder–decoder with biases of positions. */
  readonly #positionBias: PositionBias[] = [];
  #mtpBase = 0;
  #headBase = 0;
  /** By bank. */
  readonly #workspaces: WorkspacePool[] = [];
  /** By bank. */
  readonly #adapters: AdapterSpace[] = [];
  readonly #threads: number;
  /** For adapters, in each layer's bank. */
  readonly #adapterBytesPerLayer: number;

  constructor(config: ModelConfig, layout: DenseLayout, options: DenseMemoryOptions) {
    this.config = config;
    this.segments = layout.segments;
    this.#threads = options.threads;
    this.#adapterBytesPerLayer = Math.ceil((options.adapterBytes ?? 0) / config.numHiddenLayers);
    const width = kvWidth(config.attention);
    // A head's positions lie on the pages of a full table, as the MTP module's.
    this.paging = kvPaging(options.head ? { ...config, numNextnPredictLayers: 1 } : config);
    this.#pageTables = pageTablesOfLayers(config, this.paging);
    this.pool = new PagePool({ paging: this.paging, width }, options.kvBytes, this.#copier('main'));
    if (config.numNextnPredictLayers > 0) {
      const bytes = this.pool.numPages * pageBytes(1, width);
      this.mtpPool = new PagePool({ paging: onePageTable(1), width }, bytes, this.#copier('mtp'));
    }
    this.head = options.head && { ...options.head, pool: this.#headPool(options.head.config) };
    this.#place(options);
  }

  get weightBytes(): number {
    return this.#allSegments.reduce((sum, segment) => sum + segment.bytes, 0);
  }

  get #allSegments(): readonly DenseSegment[] {
    return [...this.segments, ...(this.head?.layout.segments ?? [])];
  }

  bankOf(segment: string): number {
    return this.#segmentPlace.get(segment)!.bank;
  }

  /** The memory of a segment's bytes. */
  bytesOf(segment: DenseSegment): Uint8Array {
    const { bank, address } = this.#segmentPlace.get(segment.name)!;
    return this.banks[bank]!.views.u8.subarray(address, address + segment.bytes);
  }

  has(name: string): boolean {
    return this.#entries.has(name);
  }

  /** Throws a RangeError if the model has no matrix of that name. */
  matrix(name: string): Matrix {
    const { entry, place } = this.#entry(name);
    const { format, rows, cols, count, bytes } = entry;
    return {
      address: place.address,
      format,
      outDim: rows,
      inDim: cols,
      blocks: Math.ceil(cols / 32),
      strideBytes: bytes / count,
    };
  }

  /** [inDim], a row of a matrix, unpacked. */
  matrixRow(name: string, row: number): Float32Array {
    const { entry, place } = this.#entry(name);
    const bytes = this.banks[place.bank]!.views.u8.subarray(place.address, place.address + entry.bytes);
    return unpackPanelRow(entry.format, bytes, row, entry.cols);
  }

  /** The address of a vector. */
  vector(name: string): number {
    return this.#entry(name).place.address;
  }

  vectorValues(name: string): Float32Array {
    const { entry, place } = this.#entry(name);
    return this.banks[place.bank]!.views.f32.slice(place.address / 4, place.address / 4 + entry.cols);
  }

  /** Throws an AdapterError if there is no room for it. */
  openAdapter(adapter: Adapter): BankAdapter {
    return new BankAdapter(adapter, this.#adapters, (layer) => this.bankOf(`layers.${layer}`));
  }

  pageAddress(bank: number, page: number, kv: KvKind): number {
    if (kv === 'mtp') return this.#mtpBase + page * this.mtpPool!.bytesPerPage;
    if (kv === 'head') return this.#headBase + page * this.head!.pool.bytesPerPage;
    const { base, pageBytes: bytes } = this.#kv[bank]!;
    return base + page * bytes;
  }

  /** The page table of a layer; the first for the MTP module's. */
  pageTableOf(layer: number): number {
    return this.#pageTables[layer] ?? 0;
  }

  /** Offset in a page of a layer's positions; 0 for the MTP module's layer. */
  layerOffset(layer: number): number {
    return this.#layerOffset.get(layer) ?? 0;
  }

  /** The first layer whose keys and values are kept: of an encoder–decoder the decoder's first. */
  get #firstKept(): number {
    return this.config.numHiddenLayers - numDecoderLayers(this.config);
  }

  /** The biases of positions in a bank; undefined where the model has none. */
  positionBias(bank: number): PositionBias | undefined {
    return this.#positionBias[bank];
  }

  /** Makes what follows from the weights, once they are loaded. */
  finish(): void {
    if (this.#positionBias.length === 0) return;
    const [encoder, decoder] = ['encoder', 'decoder'].map((stack) => this.vectorValues(`positionBias.${stack}`));
    for (const biases of this.#positionBias) biases.fill(encoder!, decoder!);
  }

  /** Lends a workspace of each bank. Throws a RangeError without having lent any. */
  lendWorkspaces(room: WorkspaceRoom): Workspace[] {
    const lent: Workspace[] = [];
    try {
      for (const pool of this.#workspaces) lent.push(pool.lend(room));
    } catch (error) {
      this.giveBackWorkspaces(lent);
      throw error;
    }
    return lent;
  }

  /** Takes back the workspaces of a `lendWorkspaces` call. */
  giveBackWorkspaces(lent: readonly Workspace[]): void {
    for (const [bank, workspace] of lent.entries()) this.#workspaces[bank]!.giveBack(workspace);
  }

  /** All workspaces of a bank, idle ones included. */
  workspacesOf(bank: number): readonly Workspace[] {
    return this.#workspaces[bank]!.workspaces;
  }

  #entry(name: string): { entry: DenseEntry; place: Place } {
    const found = this.#entries.get(name);
    if (!found) throw new RangeError(`the model has no weights named ${name}`);
    return found;
  }

  /**
   * Places embedding and head first, in one bank where they fit (a tied head is the embedding), then layer by layer, opening a bank
   * when one is full.
   */
  #place({ bankBytes = MAX_BANK_BYTES, shared }: DenseMemoryOptions): void {
    const ends = this.segments.filter(({ name }) => name === 'embed' || name === 'head');
    const others = this.#allSegments.filter((segment) => !ends.includes(segment)).map((segment) => [segment]);
    const units = this.config.tieWordEmbeddings ? [ends, ...others] : [...ends.map((end) => [end]), ...others];
    const capacity = bankBytes * (1 - SPARE_SHARE);
    const groups: DenseSegment[][] = [[]];
    for (const unit of units) {
      const needed = this.#bytesWithKvOf(unit);
      if (needed > capacity) {
        const remedy = 'a smaller --dense-quant or --kv-memory may help';
        throw new RangeError(
          `${unit[0]!.name} needs ${needed} bytes with its KV cache, more than a bank holds: ${remedy}`,
        );
      }
      const last = groups.at(-1)!;
      if (last.length === 0 || this.#bytesWithKvOf([...last, ...unit]) <= capacity) last.push(...unit);
      else groups.push([...unit]);
    }
    for (const [bank, segments] of groups.entries()) this.#openBank(bank, segments, bankBytes, shared);
  }

  #openBank(index: number, segments: readonly DenseSegment[], bankBytes: number, shared: boolean): void {
    const bank = new Bank(bankBytes, shared);
    this.banks.push(bank);
    for (const segment of segments) {
      const address = bank.reserve(segment.bytes);
      this.#segmentPlace.set(segment.name, { bank: index, address });
      for (const entry of segment.entries) {
        const place = { bank: index, address: address + entry.offset - segment.offset };
        this.#entries.set(entry.name, { entry, place });
      }
      if (segment.name === 'mtp') this.#mtpBase = bank.reserve(this.mtpPool!.budgetBytes);
      if (segment.name === HEAD_SEGMENT) this.#headBase = bank.reserve(this.head!.pool.budgetBytes);
    }
    if (biasTableBytes(this.config) > 0) this.#positionBias.push(new PositionBias(bank, this.config));
    const width = kvWidth(this.config.attention);
    for (const layers of this.#layersByTable(segments)) {
      if (this.config.encoder) continue;
      for (const [slot, layer] of layers.entries()) this.#layerOffset.set(layer, pageBytes(slot, width));
    }
    const bytes = this.#pageBytesOf(segments);
    this.#kv.push({ base: bank.reserve(bytes * this.pool.numPages), pageBytes: bytes });
    this.#adapters.push(new AdapterSpace(bank, this.#adapterBytesOf(segments)));
    const numTables = this.paging.fullTables + this.paging.windowTables;
    this.#workspaces.push(new WorkspacePool(bank, this.config, this.#threads, { numTables }, this.head?.config));
  }

  /** The main layers among a bank's segments that keep keys and values, by page table. */
  #layersByTable(segments: readonly DenseSegment[]): number[][] {
    const { fullTables, windowTables } = this.paging;
    const tables = Array.from({ length: fullTables + windowTables }, (): number[] => []);
    for (const { name } of segments) {
      const layer = /^layers\.(\d+)$/.exec(name);
      if (layer && Number(layer[1]) >= this.#firstKept) {
        tables[this.pageTableOf(Number(layer[1]))]!.push(Number(layer[1]));
      }
    }
    return tables;
  }

  /** Bytes of a page in a bank with these segments. */
  #pageBytesOf(segments: readonly DenseSegment[]): number {
    // An encoder's layers use the same memory in turn.
    const hasEncoder =
      segments.some(({ name }) => name.startsWith('layers.')) && (this.config.encoder || this.#firstKept > 0);
    const kept = this.config.encoder ? 0 : Math.max(...this.#layersByTable(segments).map((layers) => layers.length));
    return pageBytes(Math.max(kept, hasEncoder ? 1 : 0), kvWidth(this.config.attention));
  }

  #bytesWithKvOf(segments: readonly DenseSegment[]): number {
    const weights = segments.reduce((sum, { bytes }) => sum + bytes, 0);
    const mtp = segments.some(({ name }) => name === 'mtp') ? this.mtpPool!.budgetBytes : 0;
    const head = segments.some(({ name }) => name === HEAD_SEGMENT) ? this.head!.pool.budgetBytes : 0;
    const own = mtp + head + this.#adapterBytesOf(segments) + biasTableBytes(this.config);
    return weights + this.pool.numPages * this.#pageBytesOf(segments) + own;
  }

  #adapterBytesOf(segments: readonly DenseSegment[]): number {
    return this.#adapterBytesPerLayer * segments.filter(({ name }) => name.startsWith('layers.')).length;
  }

  #headPool({ transformer }: HeadConfig): PagePool {
    const width = kvWidth(transformer.attention);
    const layers = transformer.numHiddenLayers;
    const bytes = this.pool.numPages * pageBytes(layers, width);
    return new PagePool({ paging: onePageTable(layers), width }, bytes, this.#copier('head', width));
  }

  /** Copies within the pages of the main model, or of what has its own memory for them. */
  #copier(kv: KvKind, width = kvWidth(this.config.attention)): PageCopier {
    const layerBytes = pageBytes(1, width);
    const valueBytes = width * BYTES_PER_VALUE;
    const inBanks = (copy: (u8: Uint8Array, addressOf: (page: number) => number, bytes: number) => void): void => {
      for (const [bank, { pageBytes: bytes }] of this.#kv.entries()) {
        if (kv !== 'main' && bank !== this.bankOf(kv === 'mtp' ? 'mtp' : HEAD_SEGMENT)) continue;
        const own = kv === 'main' ? bytes : kv === 'mtp' ? layerBytes : this.head!.pool.bytesPerPage;
        copy(this.banks[bank]!.views.u8, (page) => this.pageAddress(bank, page, kv), own);
      }
    };
    return {
      page: (from, to) =>
        inBanks((u8, addressOf, bytes) => u8.copyWithin(addressOf(to), addressOf(from), addressOf(from) + bytes)),
      position: (from, to) =>
        inBanks((u8, addressOf, bytes) => {
          for (let layer = 0; layer < bytes; layer += layerBytes) {
            const [source, target] = [from, to].map(({ page }) => addressOf(page) + layer) as [number, number];
            const copy = (offset: number, length: number): void => {
              const at = source + offset + from.index * length;
              u8.copyWithin(target + offset + to.index * length, at, at + length);
            };
            copy(0, valueBytes);
            copy(PAGE_POSITIONS * valueBytes, EXPONENT_BYTES);
          }
        }),
    };
  }
}
