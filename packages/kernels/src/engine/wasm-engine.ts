import {
  claimPositions,
  type EngineMtpRow,
  type EngineRow,
  type ExpertDispatch,
  type ForwardEngine,
  type ForwardObserver,
  type ForwardResult,
  type KvPageBudget,
  type ModelConfig,
  NO_MTP,
  type SequenceCache,
  type SequencePages,
} from '@shoal/model';
import type { DenseMemory } from './dense-memory.ts';
import { ForwardPass } from './forward-pass.ts';
import { LentCache, LentMtpCache, PAGE_POSITIONS, PagedCache, type PagePool } from './kv-pages.ts';
import { LayerProgram } from './layer-program.ts';
import type { PassCache, PassRow } from './pass.ts';
import type { Runner } from './runner.ts';

/** The coordinator's dense work in WebAssembly, on threads of its own: the calling thread never computes and never blocks. */
export class WasmEngine implements ForwardEngine {
  readonly name = 'wasm';
  readonly config: ModelConfig;
  readonly memory: DenseMemory;
  readonly #runner: Runner;
  readonly #layers: LayerProgram;
  #pagesLent = false;
  /** One pass at a time: they share the workspaces. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(memory: DenseMemory, runner: Runner) {
    this.config = memory.config;
    this.memory = memory;
    this.#runner = runner;
    this.#layers = new LayerProgram(memory);
  }

  get threads(): number {
    return this.#runner.threads;
  }

  get kvBytesPerToken(): number {
    return this.memory.pool.bytesPerToken;
  }

  get mtpKvBytesPerToken(): number {
    return this.memory.mtpPool?.bytesPerToken ?? 0;
  }

  lendPages(): KvPageBudget {
    const { numPages, bytesPerPage, bytesInUse } = this.memory.pool;
    if (bytesInUse > 0)
      throw new Error('pages of the KV cache are in use already: lend them before the first sequence');
    this.#pagesLent = true;
    return { numPages, pagePositions: PAGE_POSITIONS, bytesPerPage };
  }

  sequenceOn(pages: SequencePages): LentCache {
    this.#needLent('sequenceOn()');
    return new LentCache(this.memory.pool, pages);
  }

  mtpSequenceOn(pages: SequencePages, length: number): LentMtpCache {
    this.#needLent('mtpSequenceOn()');
    return new LentMtpCache(this.#mtpPool(), pages, length);
  }

  expertNormGain(layer: number): Float32Array {
    return this.memory.vectorValues(`layers.${layer}.postAttentionLayernorm`);
  }

  newSequence(): PagedCache {
    this.#refuseLent('sequenceOn()');
    return new PagedCache(this.memory.pool);
  }

  newMtpSequence(): PagedCache {
    this.#refuseLent('mtpSequenceOn()');
    return new PagedCache(this.#mtpPool());
  }

  forward(rows: readonly EngineRow[], experts: ExpertDispatch, observe: ForwardObserver = {}): Promise<ForwardResult> {
    return this.#exclusive(async () => {
      const ids = rows.map(({ tokenId }) => tokenId);
      this.#checkTokens(ids);
      const own = rows.map(({ position, cache }) => ({ position, cache: ownCache(cache, this.memory.pool) }));
      return this.#claimed(own, async () => {
        const pass = this.#pass(own, experts, observe, 'embed', false);
        pass.embed(this.memory.matrix('embedTokens'), ids, pass.tables.workspace.x);
        for (let layer = 0; layer < this.config.numHiddenLayers; layer++) {
          await pass.enter(`layers.${layer}`);
          await pass.decoderLayer(`layers.${layer}`, layer);
        }
        await pass.enter('head');
        return pass.finish(
          'norm',
          rows.map(({ wantLogits }) => wantLogits),
        );
      });
    });
  }

  forwardMtp(
    rows: readonly EngineMtpRow[],
    experts: ExpertDispatch,
    observe: ForwardObserver = {},
  ): Promise<ForwardResult> {
    return this.#exclusive(async () => {
      const pool = this.#mtpPool();
      const ids = rows.map(({ nextTokenId }) => nextTokenId);
      this.#checkTokens(ids);
      const own = rows.map(({ position, cache }) => ({ position, cache: ownCache(cache, pool) }));
      return this.#claimed(own, async () => {
        const pass = this.#pass(own, experts, observe, 'embed', true);
        pass.embed(this.memory.matrix('embedTokens'), ids, pass.tables.workspace.x);
        await pass.enter('mtp');
        pass.joinHidden(rows.map(({ hidden }) => hidden));
        await pass.decoderLayer('mtp.layer', this.config.numHiddenLayers);
        return pass.finish(
          'mtp.sharedHeadNorm',
          rows.map(({ wantLogits }) => wantLogits),
        );
      });
    });
  }

  async close(): Promise<void> {
    await this.#turn.catch(() => {});
    await this.#runner.close();
  }

  #pass(
    rows: readonly PassRow[],
    experts: ExpertDispatch,
    observe: ForwardObserver,
    segment: string,
    mtp: boolean,
  ): ForwardPass {
    const { memory } = this;
    const options = { memory, layers: this.#layers, runner: this.#runner, rows, experts, observe, mtp };
    return new ForwardPass(options, memory.bankOf(segment));
  }

  /** With the rows' positions claimed, and given back when it fails. */
  async #claimed<T>(rows: readonly PassRow[], work: () => Promise<T>): Promise<T> {
    const rollback = claimPositions(this.config, rows);
    try {
      return await work();
    } catch (error) {
      rollback();
      throw error;
    }
  }

  #exclusive<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work, work);
    this.#turn = result.catch(() => {});
    return result;
  }

  #checkTokens(ids: readonly number[]): void {
    const { vocabSize } = this.config;
    for (const [r, id] of ids.entries()) {
      if (!Number.isInteger(id) || id < 0 || id >= vocabSize) {
        throw new RangeError(`row ${r}: token ${id} is outside the vocabulary of ${vocabSize}`);
      }
    }
  }

  #needLent(call: string): void {
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

function ownCache(cache: SequenceCache, pool: PagePool): PassCache {
  const isOurs = cache instanceof PagedCache || cache instanceof LentCache || cache instanceof LentMtpCache;
  if (isOurs && cache.pool === pool) return cache;
  throw new TypeError("a sequence of another engine: use this engine's newSequence()");
}
