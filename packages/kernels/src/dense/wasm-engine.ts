import {
  type Adapter,
  checkQueries,
  checkScalings,
  checkSequences,
  checkTokens,
  claimPositions,
  contextLength,
  type EncodeResult,
  type EngineMtpRow,
  type EngineRow,
  type EngineSource,
  type ExpertDispatch,
  type ForwardEngine,
  type ForwardObserver,
  type ForwardResult,
  type KvPageBudget,
  kvWidth,
  type ModelConfig,
  NO_MTP,
  numDecoderLayers,
  type SequencePages,
  sinusoidPlaces,
  type SourceResult,
  type SettledMask,
  settleMasks,
} from '@shoal/model';
import { BankAdapter } from './adapter-space.ts';
import type { DenseMemory, KvKind } from './dense-memory.ts';
import { EncoderProgram } from './encoder-program.ts';
import { ForwardPass } from './forward-pass.ts';
import { LentCache, LentMtpCache, PAGE_POSITIONS, PagedCache, type PagePool, positionBytes } from './kv-pages.ts';
import { LayerProgram } from './layer-program.ts';
import { ownCache, type PassRow, roomOf } from './pass.ts';
import type { Runner } from './runner.ts';
import { Seq2SeqProgram } from './seq2seq-program.ts';
import { WasmHead } from './wasm-head.ts';
import type { WorkspaceRoom } from './workspace.ts';
import { WorkspaceTurns } from './workspace-turns.ts';

/** Rows of an encoder's pass. Each may take a page, if sequences have one token; there is room for two passes. */
export const MAX_ENCODE_ROWS = 2048;
export const ENCODER_PAGES = 2 * MAX_ENCODE_ROWS;

interface PassRequest {
  rows: readonly PassRow[];
  room: WorkspaceRoom;
  experts: ExpertDispatch;
  observe: ForwardObserver;
  kv: KvKind;
  /** Rows of each sequence, for an encoder's gates. */
  lengths?: readonly number[];
}

/** The dense engine in WebAssembly, on threads of its own: the calling thread neither computes nor blocks. */
export class WasmEngine implements ForwardEngine {
  readonly name = 'wasm';
  readonly config: ModelConfig;
  readonly memory: DenseMemory;
  readonly runner: Runner;
  readonly head: WasmHead | undefined;
  readonly #layers: LayerProgram;
  #pagesLent = false;
  readonly #turns: WorkspaceTurns;

  constructor(memory: DenseMemory, runner: Runner) {
    this.config = memory.config;
    this.memory = memory;
    this.runner = runner;
    this.#layers = new LayerProgram(memory);
    this.#turns = new WorkspaceTurns(memory);
    const turns = this.#turns;
    this.head =
      memory.head && new WasmHead({ memory, head: memory.head, runner, turns, isLent: () => this.#pagesLent });
  }

  get threads(): number {
    return this.runner.threads;
  }

  get kvBytesPerToken(): number {
    if (this.config.encoder) return 0;
    return numDecoderLayers(this.config) * positionBytes(kvWidth(this.config.attention));
  }

  get mtpKvBytesPerToken(): number {
    return this.memory.mtpPool ? positionBytes(kvWidth(this.config.attention)) : 0;
  }

  lendPages(): KvPageBudget | undefined {
    // An encoder's pages last as long as a pass.
    if (this.config.encoder) return undefined;
    const { numPages, bytesPerPage, bytesInUse } = this.memory.pool;
    if (bytesInUse > 0)
      throw new Error('pages of the KV cache are already in use: lend them before the first sequence');
    this.#pagesLent = true;
    return { numPages, pagePositions: PAGE_POSITIONS, bytesPerPage, paging: this.memory.paging };
  }

  sequenceOn(pages: SequencePages): LentCache {
    this.#requireLent('sequenceOn()');
    return new LentCache(this.memory.pool, pages);
  }

  mtpSequenceOn(pages: SequencePages, length: number): LentMtpCache {
    this.#requireLent('mtpSequenceOn()');
    return new LentMtpCache(this.#mtpPool(), pages, length);
  }

  expertNormGain(layer: number): Float32Array {
    const prefix = layer === this.config.numHiddenLayers ? 'mtp.layer' : `layers.${layer}`;
    const { encoder, seq2seq } = this.config;
    if (seq2seq) return this.memory.vectorValues(`${prefix}.ffnNorm.weight`);
    return this.memory.vectorValues(encoder ? `${prefix}.attentionNorm.weight` : `${prefix}.postAttentionLayernorm`);
  }

  tokenEmbedding(id: number): Float32Array {
    if (!(id >= 0 && id < this.config.vocabSize)) throw new RangeError(`no token has the id ${id}`);
    return this.memory.matrixRow('embedTokens', id);
  }

  newSequence(): PagedCache {
    this.#refuseLent('sequenceOn()');
    return new PagedCache(this.memory.pool);
  }

  newMtpSequence(): PagedCache {
    this.#refuseLent('mtpSequenceOn()');
    return new PagedCache(this.#mtpPool());
  }

  openAdapter(adapter: Adapter): BankAdapter {
    return this.memory.openAdapter(adapter);
  }

  async forward(
    rows: readonly EngineRow[],
    experts: ExpertDispatch,
    observe: ForwardObserver = {},
  ): Promise<ForwardResult> {
    const ids = rows.map(({ tokenId }) => tokenId);
    const own = this.#checkRows(rows, ids, this.memory.pool).map((row, r) => {
      const { scalings } = rows[r]!;
      return { ...row, adapter: ownAdapter(rows[r]!), scalings };
    });
    const masks = settleMasks(rows, this.config.vocabSize);
    if (this.config.seq2seq) return this.#decode(own, rows, { experts, observe, masks });
    return this.#pass({ rows: own, room: roomOf(own, rows), experts, observe, kv: 'main' }, async (pass) => {
      pass.embed(this.memory.matrix('embedTokens'), ids, pass.tables.workspace.x, this.config.embeddingMultiplier);
      for (let layer = 0; layer < this.config.numHiddenLayers; layer++) {
        await pass.enterLayers(`layers.${layer}`);
        await pass.decoderLayer(`layers.${layer}`, layer);
      }
      await pass.enterLayers('head');
      return pass.finish({ weight: 'norm' }, rows, masks);
    });
  }

  /** The decoder of an encoder–decoder, for rows behind their sources. */
  async #decode(
    own: readonly PassRow[],
    rows: readonly EngineRow[],
    { experts, observe, masks }: { experts: ExpertDispatch; observe: ForwardObserver; masks: Promise<SettledMask[]> },
  ): Promise<ForwardResult> {
    const behind = own.map((row) => ({ ...row, source: row.cache.sourceLength }));
    const { positions, encoderLayers } = this.config.seq2seq!;
    const program = new Seq2SeqProgram(this.memory, this.#layers);
    checkBehindSources(behind, this.config);
    const ids = rows.map(({ tokenId }) => tokenId);
    return this.#pass({ rows: behind, room: roomOf(own, rows), experts, observe, kv: 'main' }, async (pass) => {
      pass.embed(this.memory.matrix('embedTokens'), ids, pass.tables.workspace.x, this.config.embeddingMultiplier);
      if (positions.kind === 'sinusoid') {
        const { padTokenId: pad } = positions;
        const places = behind.map(({ position, source }, r) => (ids[r] === pad ? pad : pad + 1 + position - source));
        pass.addSinusoids(places, pad);
      }
      for (let layer = encoderLayers; layer < this.config.numHiddenLayers; layer++) {
        await pass.enterLayers(`layers.${layer}`);
        await pass.seq2seqLayer(program, layer);
      }
      await pass.enterLayers('head');
      return pass.finish({ weight: 'norm.weight', bias: 'norm.bias' }, rows, masks);
    });
  }

  /** As `ForwardEngine` says. */
  async encodeSources(
    sources: readonly EngineSource[],
    experts: ExpertDispatch,
    observe: ForwardObserver = {},
  ): Promise<SourceResult> {
    const { seq2seq, embeddingMultiplier } = this.config;
    if (!seq2seq) throw new TypeError(`${this.config.modelType} is no encoder–decoder`);
    const all = sources.map(({ ids }) => ids);
    checkSequences(all, this.config);
    const caches = sources.map(({ cache }) => ownCache(cache, this.memory.pool));
    const rows = all.flatMap(({ length }, i) =>
      Array.from({ length }, (_, position) => ({ position, cache: caches[i]!, last: length - 1 })),
    );
    const tableWords = all.reduce((sum, { length }) => sum + Math.ceil(length / PAGE_POSITIONS), 0);
    const room = { rows: rows.length, tableWords, listWords: 0, ranks: 0 };
    const lengths = all.map(({ length }) => length);
    const program = new Seq2SeqProgram(this.memory, this.#layers);
    const { faults } = await this.#pass({ rows, room, experts, observe, kv: 'main', lengths }, async (pass) => {
      pass.embed(this.memory.matrix('embedTokens'), all.flat(), pass.tables.workspace.x, embeddingMultiplier);
      if (seq2seq.positions.kind === 'sinusoid') {
        const { padTokenId } = seq2seq.positions;
        pass.addSinusoids(
          all.flatMap((ids) => sinusoidPlaces(ids, padTokenId)),
          padTokenId,
        );
      }
      for (let layer = 0; layer < seq2seq.encoderLayers; layer++) {
        await pass.enterLayers(`layers.${layer}`);
        await pass.seq2seqLayer(program, layer);
      }
      return pass.keepSources(program);
    });
    for (const [i, cache] of caches.entries()) cache.sourceLength = lengths[i]!;
    if (!faults) return {};
    return { faults: caches.map((cache) => faults.find((fault, r) => fault && rows[r]!.cache === cache)) };
  }

  /** As `ForwardEngine` says, for up to `MAX_ENCODE_ROWS` rows. */
  async encode(
    sequences: readonly (readonly number[])[],
    experts: ExpertDispatch,
    observe: ForwardObserver = {},
  ): Promise<EncodeResult> {
    checkSequences(sequences, this.config);
    const ids = sequences.flat();
    if (ids.length > MAX_ENCODE_ROWS) {
      throw new RangeError(`${ids.length} rows; an encoder's pass has up to ${MAX_ENCODE_ROWS}: send fewer sequences`);
    }
    const caches = sequences.map(() => new PagedCache(this.memory.pool));
    const rows = sequences.flatMap(({ length }, i) =>
      Array.from({ length }, (_, position) => ({ position, cache: caches[i]!, last: length - 1 })),
    );
    const tableWords = sequences.reduce((sum, { length }) => sum + Math.ceil(length / PAGE_POSITIONS), 0);
    const room = { rows: rows.length, tableWords, listWords: 0, ranks: 0 };
    const lengths = sequences.map(({ length }) => length);
    const program = new EncoderProgram(this.memory, this.#layers);
    try {
      return await this.#pass({ rows, room, experts, observe, kv: 'main', lengths }, async (pass) => {
        pass.embed(this.memory.matrix('embedTokens'), ids, pass.tables.workspace.x);
        program.embedding(pass.program, pass.tables);
        for (let layer = 0; layer < this.config.numHiddenLayers; layer++) {
          await pass.enterLayers(`layers.${layer}`);
          await pass.encoderLayer(program, layer);
        }
        return pass.finishEncoder();
      });
    } finally {
      for (const cache of caches) cache.free();
    }
  }

  async forwardMtp(
    rows: readonly EngineMtpRow[],
    experts: ExpertDispatch,
    observe: ForwardObserver = {},
  ): Promise<ForwardResult> {
    const pool = this.#mtpPool();
    const ids = rows.map(({ nextTokenId }) => nextTokenId);
    const own = this.#checkRows(rows, ids, pool);
    const masks = settleMasks(rows, this.config.vocabSize);
    return this.#pass({ rows: own, room: roomOf(own, rows), experts, observe, kv: 'mtp' }, async (pass) => {
      pass.embed(this.memory.matrix('embedTokens'), ids, pass.tables.workspace.x, this.config.embeddingMultiplier);
      await pass.enterLayers('mtp');
      pass.joinHidden(rows.map(({ hidden }) => hidden));
      await pass.decoderLayer('mtp.layer', this.config.numHiddenLayers);
      return pass.finish({ weight: 'mtp.sharedHeadNorm' }, rows, masks);
    });
  }

  async close(): Promise<void> {
    await this.#turns.end();
    await this.runner.close();
  }

  /** Throws a RangeError for a token or query out of range, a TypeError for a sequence of another engine. */
  #checkRows(rows: readonly (EngineRow | EngineMtpRow)[], ids: readonly number[], pool: PagePool): PassRow[] {
    const { vocabSize } = this.config;
    checkTokens(ids, vocabSize);
    checkQueries(rows, vocabSize);
    return rows.map(({ position, cache, slots }) => ({ position, cache: ownCache(cache, pool), slots }));
  }

  /** Runs `compute` with the rows' positions claimed, which are released if it fails, and with its own workspaces. */
  async #pass<Result>(asked: PassRequest, compute: (pass: ForwardPass) => Promise<Result>): Promise<Result> {
    const claim = claimPositions({ maxPositionEmbeddings: contextLength(this.config) }, asked.rows);
    try {
      const result = await this.#turns.withWorkspaces(asked.room, (workspaces) => {
        const { memory } = this;
        const options = {
          ...asked,
          memory,
          config: this.config,
          layers: this.#layers,
          runner: this.runner,
          workspaces,
        };
        return compute(new ForwardPass(options, memory.bankOf('embed')));
      });
      claim.release();
      return result;
    } catch (error) {
      claim.rollback();
      throw error;
    }
  }

  #requireLent(call: string): void {
    if (!this.#pagesLent) throw new TypeError(`${call} is for lent pages: call lendPages() first`);
  }

  #refuseLent(instead: string): void {
    if (this.#pagesLent) throw new Error(`the pages of the KV cache were lent: use ${instead}`);
  }

  #mtpPool(): PagePool {
    const { mtpPool } = this.memory;
    if (!mtpPool) throw new RangeError(NO_MTP);
    return mtpPool;
  }
}

/** Throws a RangeError for a row whose source was not encoded, or which lies beyond what an answer may have. */
function checkBehindSources(
  rows: readonly { position: number; source: number }[],
  { maxPositionEmbeddings }: ModelConfig,
): void {
  for (const [r, { position, source }] of rows.entries()) {
    if (source === 0) throw new RangeError(`row ${r}: its sequence has no source: call encodeSources() first`);
    if (position - source < maxPositionEmbeddings) continue;
    throw new RangeError(
      `row ${r}: an answer has ${maxPositionEmbeddings} positions, and this is ${position - source}`,
    );
  }
}

function ownAdapter({ adapter, scalings }: Pick<EngineRow, 'adapter' | 'scalings'>): BankAdapter | undefined {
  if (adapter === undefined) return adapter;
  if (adapter instanceof BankAdapter) {
    checkScalings(adapter.mixture, scalings);
    return adapter;
  }
  throw new TypeError("an adapter of another engine: use this engine's openAdapter()");
}
