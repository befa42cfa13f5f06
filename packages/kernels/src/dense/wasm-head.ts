import {
  blockRows,
  checkQueries,
  checkTokens,
  claimPositions,
  type DraftVocabulary,
  type EngineContextRow,
  type EngineDraftBlock,
  type EngineEagle3Row,
  type HeadConfig,
  type HeadEngine,
  type HeadResult,
  type HeadRow,
  kvWidth,
  type ModelConfig,
  type SequencePages,
} from '@shoal/model';
import { HEAD_SEGMENT } from '@shoal/weights';
import type { DenseMemory, HeadLayout } from './dense-memory.ts';
import { HeadPass } from './head-pass.ts';
import { LentMtpCache, PagedCache, pageBytes, type PagePool, positionBytes } from './kv-pages.ts';
import { LayerProgram, type LayerPlaces } from './layer-program.ts';
import { ownCache, type PassRow, roomOf } from './pass.ts';
import type { Runner } from './runner.ts';
import type { WorkspaceTurns } from './workspace-turns.ts';

export interface WasmHeadOptions {
  memory: DenseMemory;
  head: HeadLayout & { pool: PagePool };
  runner: Runner;
  turns: WorkspaceTurns;
  /** Whether the pages of the KV cache were lent. */
  isLent: () => boolean;
}

/** A head that drafts, in the memory and on the threads of the model's engine. */
export class WasmHead implements HeadEngine {
  readonly config: HeadConfig;
  readonly #options: WasmHeadOptions;
  readonly #layers: LayerProgram;
  readonly #vocabulary: DraftVocabulary;

  constructor(options: WasmHeadOptions) {
    this.#options = options;
    const { memory, head } = options;
    this.config = head.config;
    this.#vocabulary = head.vocabulary;
    const width = kvWidth(this.#transformer.attention);
    const places: LayerPlaces = { layerOffset: (layer) => pageBytes(layer, width), pageTableOf: () => 0 };
    this.#layers = new LayerProgram(memory, this.#transformer, places);
  }

  get #transformer(): ModelConfig {
    return this.config.transformer;
  }

  get kvBytesPerToken(): number {
    const { attention, numHiddenLayers } = this.#transformer;
    return numHiddenLayers * positionBytes(kvWidth(attention));
  }

  newSequence(): PagedCache {
    if (this.#options.isLent()) throw new Error('the pages of the KV cache were lent: use sequenceOn()');
    return new PagedCache(this.#options.head.pool);
  }

  sequenceOn(pages: SequencePages, length: number): LentMtpCache {
    if (!this.#options.isLent()) throw new TypeError('sequenceOn() is for lent pages: call lendPages() first');
    return new LentMtpCache(this.#options.head.pool, pages, length);
  }

  async forwardEagle3(rows: readonly EngineEagle3Row[]): Promise<HeadResult> {
    if (this.config.head.kind !== 'eagle3') throw new TypeError('this head is no EAGLE-3 head');
    if (rows.some(({ isOwn }) => isOwn !== rows[0]!.isOwn))
      throw new RangeError("rows of the target's hidden states and of the head's own in one call");
    const own = this.#ownRows(
      rows,
      rows.map(({ nextTokenId }) => nextTokenId),
    );
    return this.#inTargetsTokens(await this.#pass(own, own, (pass) => pass.eagle3(own)));
  }

  async addContext(rows: readonly EngineContextRow[]): Promise<void> {
    await this.#pass(rows, [], (pass) => pass.context(rows));
  }

  async forwardBlocks(blocks: readonly EngineDraftBlock[]): Promise<HeadResult> {
    const { head } = this.config;
    if (head.kind !== 'dflash') throw new TypeError('this head is no DFlash head');
    const rows = blockRows(head, blocks);
    const own = this.#ownRows(
      rows,
      rows.map(({ tokenId }) => tokenId),
    );
    return this.#inTargetsTokens(await this.#pass(own, own, (pass) => pass.blocks(own), true));
  }

  /** Rows with queries about the head's tokens. Throws a RangeError for a token or query out of range. */
  #ownRows<Row extends HeadRow>(rows: readonly Row[], ids: readonly number[]): Row[] {
    const { vocabSize } = this.#transformer;
    checkTokens(ids, vocabSize);
    checkQueries(rows, vocabSize);
    return rows.map((row) => ({ ...row, query: row.query && this.#vocabulary.queryOf(row.query) }));
  }

  #inTargetsTokens(result: HeadResult): HeadResult {
    return { ...result, answers: result.answers.map((answer) => answer && this.#vocabulary.answerOf(answer)) };
  }

  /** Runs `compute` with the rows' positions claimed, which are released if it fails, or where they are not kept. */
  async #pass<Result>(
    rows: readonly (Pick<EngineEagle3Row, 'position' | 'cache' | 'slots'> & { last?: number })[],
    wanted: readonly HeadRow[],
    compute: (pass: HeadPass) => Promise<Result>,
    isForgotten = false,
  ): Promise<Result> {
    const { memory, head, runner, turns } = this.#options;
    const own = rows.map(({ position, cache, slots, last }): PassRow => {
      return { position, cache: ownCache(cache, head.pool), slots, last };
    });
    const claim = claimPositions(this.#transformer, own);
    try {
      const result = await turns.withWorkspaces(roomOf(own, wanted), (workspaces) => {
        const about = { rows: own, config: this.#transformer, kv: 'head' as const, observe: {} };
        const options = { ...about, memory, runner, workspaces, head: this.config, layers: this.#layers };
        const hasEmbedding = memory.has(`${HEAD_SEGMENT}.embedTokens`);
        return compute(new HeadPass(options, memory.bankOf(hasEmbedding ? HEAD_SEGMENT : 'embed')));
      });
      if (isForgotten) claim.rollback();
      else claim.release();
      return result;
    } catch (error) {
      claim.rollback();
      throw error;
    }
  }
}
