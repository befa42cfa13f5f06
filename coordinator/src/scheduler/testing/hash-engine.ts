import {
  answerQuery,
  claimPositions,
  type EngineMtpRow,
  type EngineRow,
  type EngineSource,
  type ExpertDispatch,
  type ForwardEngine,
  type ForwardResult,
  type ForwardObserver,
  type HeadRow,
  masksAfterLayers,
  type ModelConfig,
  parseModelConfig,
  type SequenceCache,
  type SequencePages,
  type SettledMask,
  type SourceResult,
  settleMasks,
} from '@shoal/model';
import { smallConfigJson } from './small-config.ts';

export const VOCAB = 11;
export const EOS = VOCAB - 1;
const PAGE_POSITIONS = 4;

const config = parseModelConfig({
  ...smallConfigJson,
  vocab_size: VOCAB,
  max_position_embeddings: 60,
  num_nextn_predict_layers: 1,
  eos_token_id: EOS,
});

/** 24 bits, so that a float32 holds it. */
const hash = (state: number, token: number): number => Math.imul(state ^ (token + 1), 0x9e3779b1) >>> 8;

/** What a position of a source holds. */
export const encoded = (id: number, source: readonly number[]): number => 1000 + id + 100 * source.length;

/** A few likely tokens and no more, as languages have it. */
function logitsOf(state: number): Float32Array {
  const logits = Float32Array.from({ length: VOCAB }, (_, i) => (hash(state, i) % 1000) / 250);
  logits[hash(state, 99) % VOCAB]! += 3;
  logits[EOS]! -= 5;
  return logits;
}

/** The model's logits for the token after these. */
export function logitsAfter(ids: readonly number[]): Float32Array {
  return logitsOf(ids.reduce(hash, 1));
}

/** What a sequence's pages hold: a token for each position. */
class HashCache implements SequenceCache {
  readonly memory: Map<number, number[]>;
  readonly #lent: SequencePages;
  readonly #isMtp: boolean;
  #length: number;

  /** Told of positions that were kept elsewhere than where they were computed. */
  readonly #onMoved: (count: number) => void;

  constructor(
    memory: Map<number, number[]>,
    lent: SequencePages,
    { mtpLength, onMoved = () => {} }: { mtpLength?: number; onMoved?: (count: number) => void } = {},
  ) {
    this.memory = memory;
    this.#onMoved = onMoved;
    this.#lent = lent;
    this.#isMtp = mtpLength !== undefined;
    this.#length = mtpLength ?? 0;
  }

  get length(): number {
    return this.#isMtp ? this.#length : this.#lent.length;
  }

  get allocatedBytes(): number {
    return this.#lent.tables[0]!.pages.length;
  }

  append(count: number): void {
    if (!this.#isMtp) return this.#lent.append(count);
    this.#lent.reach(this.#length + count);
    this.#length += count;
  }

  truncate(length: number): void {
    if (!this.#isMtp) return this.#lent.truncate(length);
    if (length > this.#length) throw new RangeError('the MTP cache is shorter');
    this.#length = length;
  }

  keep(length: number, slots: readonly number[]): void {
    this.#onMoved(slots.filter((slot, i) => slot !== length + i).length);
    for (const [i, slot] of slots.entries()) {
      for (let table = 0; table < this.numTables; table++)
        this.#page(length + i, table)[(length + i) % PAGE_POSITIONS] = this.read(slot, table)!;
    }
    this.truncate(length + slots.length);
  }

  free(): void {
    if (!this.#isMtp) this.#lent.close();
  }

  write(position: number, token: number): void {
    for (let table = 0; table < this.numTables; table++) this.#page(position, table)[position % PAGE_POSITIONS] = token;
  }

  read(position: number, table = 0): number | undefined {
    return this.#page(position, table)[position % PAGE_POSITIONS];
  }

  get numTables(): number {
    return this.#isMtp ? 1 : this.#lent.tables.length;
  }

  #page(position: number, table: number): number[] {
    const { first, pages } = this.#lent.tables[table]!;
    const page = pages[Math.floor(position / PAGE_POSITIONS) - first];
    if (page === undefined) throw new RangeError(`position ${position} has no page in table ${table}`);
    let found = this.memory.get(page);
    if (!found) this.memory.set(page, (found = []));
    return found;
  }
}

export interface HashEngineOptions {
  numPages?: number;
  /** The number of positions in ten whose draft is right. */
  rightInTen?: number;
  /** Positions of a window, in two thirds of its layers; 0: none has a window. */
  window?: number;
  /** Whether it is a draft model: dense, and like the other in `rightInTen` of ten positions. */
  isDraft?: boolean;
  maxContext?: number;
}

/**
 * A model whose hidden state at a position is a hash of all tokens up to it, as its pages hold them: whatever is wrong with a
 * page, a position or a draft changes the next token. Its MTP module knows what the model will say in most positions.
 */
export class HashEngine implements ForwardEngine {
  readonly name = 'reference';
  readonly config: ModelConfig;
  readonly kvBytesPerToken = 2;
  readonly mtpKvBytesPerToken = 1;
  /** Rows of each call since start. */
  readonly passes: number[] = [];
  readonly mtpPasses: number[] = [];
  /** Positions of the MTP module that did not hold the token that follows, when they were read. */
  staleReads = 0;
  /** Tokens of each pass that encoded sources. */
  readonly sourcePasses: number[] = [];
  /** Right drafts whose row was not the next one after the last right one's. */
  moved = 0;
  beforeMtp: () => Promise<void> | void = () => {};
  /** What is said of every row of the MTP module in place of an answer. */
  mtpFault: Error | undefined;
  /** Called before a draft model computes. */
  beforeDraft: () => Promise<void> | void = () => {};
  readonly #options: Required<HashEngineOptions>;
  readonly #memory = new Map<number, number[]>();
  readonly #mtpMemory = new Map<number, number[]>();

  constructor(options: HashEngineOptions = {}) {
    const { maxPositionEmbeddings } = config;
    this.#options = {
      numPages: 64,
      rightInTen: 7,
      window: 0,
      isDraft: false,
      maxContext: maxPositionEmbeddings,
      ...options,
    };
    this.config = { ...config, maxPositionEmbeddings: this.#options.maxContext };
  }

  lendPages() {
    const { numPages, window } = this.#options;
    const paging = { layersPerPage: 1, fullTables: 1, windowTables: 2, reach: window - 1 };
    const budget = { numPages, pagePositions: PAGE_POSITIONS, bytesPerPage: 2 * PAGE_POSITIONS };
    return window > 0 ? { ...budget, paging } : budget;
  }

  sequenceOn(pages: SequencePages): SequenceCache {
    return new HashCache(this.#memory, pages, { onMoved: (count) => (this.moved += count) });
  }

  mtpSequenceOn(pages: SequencePages, length: number): SequenceCache {
    return new HashCache(this.#mtpMemory, pages, { mtpLength: length });
  }

  newSequence(): never {
    throw new Error('the pages were lent');
  }

  openAdapter(): never {
    throw new Error('there are no adapters here');
  }

  newMtpSequence(): never {
    throw new Error('the pages were lent');
  }

  expertNormGain(): Float32Array {
    return new Float32Array(config.hiddenSize);
  }

  tokenEmbedding(): Float32Array {
    return new Float32Array(config.hiddenSize);
  }

  async forward(
    rows: readonly EngineRow[],
    experts: ExpertDispatch,
    observe: ForwardObserver = {},
  ): Promise<ForwardResult> {
    this.passes.push(rows.length);
    const masks = settleMasks(rows, VOCAB);
    return this.#claimed(rows, async () => {
      for (const row of rows) (row.cache as HashCache).write(slotAt(row, row.position), row.tokenId);
      const { isDraft } = this.#options;
      await (isDraft ? this.beforeDraft() : lap(experts, 1, rows));
      const states = rows.map((row) => (isDraft ? this.#drafted(this.#stateAt(row)) : this.#stateAt(row)));
      return resultOf(rows, states, await masksAfterLayers(masks, 1, observe));
    });
  }

  /** A source is known only whole: it is encoded with its length, and by another number than the tokens that follow. */
  async encodeSources(sources: readonly EngineSource[], experts: ExpertDispatch): Promise<SourceResult> {
    const rows = sources.flatMap(({ ids, cache }) => ids.map((tokenId, position) => ({ tokenId, position, cache })));
    this.sourcePasses.push(rows.length);
    await this.#claimed(rows, async () => {
      for (const { ids, cache } of sources)
        for (const [i, id] of ids.entries()) (cache as HashCache).write(i, encoded(id, ids));
      await lap(experts, 1, rows);
      return resultOf([], [], []);
    });
    return {};
  }

  async forwardMtp(rows: readonly EngineMtpRow[], experts: ExpertDispatch): Promise<ForwardResult> {
    this.mtpPasses.push(rows.length);
    const masks = settleMasks(rows, VOCAB);
    return this.#claimed(rows, async () => {
      for (const row of rows) (row.cache as HashCache).write(slotAt(row, row.position), row.nextTokenId);
      await this.beforeMtp();
      await lap(experts, config.numHiddenLayers, rows);
      const states = rows.map((row) => this.#mtpState(row));
      const result = resultOf(rows, states, await masks);
      const { mtpFault } = this;
      return mtpFault ? { ...result, answers: result.answers.map((answer) => answer && mtpFault) } : result;
    });
  }

  async close(): Promise<void> {}

  /** A hash of all tokens. Where a window does not have them, it is another one. */
  #stateAt(row: EngineRow): number {
    const cache = row.cache as HashCache;
    let state = 1;
    for (let i = 0; i <= row.position; i++) {
      const slot = slotAt(row, i);
      state = hash(state, cache.read(slot) ?? -2);
      if (i <= row.position - this.#options.window) continue;
      for (let table = 1; table < cache.numTables; table++)
        if (cache.read(slot, table) !== cache.read(slot)) state = hash(state, -3);
    }
    return state;
  }

  #mtpState(row: EngineMtpRow): number {
    const known = hash(row.hidden[0]!, row.nextTokenId);
    for (let i = 0; i < row.position; i++)
      if ((row.cache as HashCache).read(slotAt(row, i)) === undefined) this.staleReads++;
    return this.#drafted(known);
  }

  #drafted(known: number): number {
    return hash(known, 5) % 10 < this.#options.rightInTen ? known : hash(known, 7);
  }

  async #claimed<Row extends { position: number; cache: SequenceCache }>(
    rows: readonly Row[],
    work: () => Promise<ForwardResult>,
  ): Promise<ForwardResult> {
    const claim = claimPositions(
      this.config,
      rows as readonly { position: number; cache: HashCache }[] & readonly Row[],
    );
    try {
      const result = await work();
      claim.release();
      return result;
    } catch (error) {
      claim.rollback();
      throw error;
    }
  }
}

/** Where a position lies that a row attends to. */
function slotAt({ position, slots = [] }: Pick<EngineRow, 'position' | 'slots'>, at: number): number {
  return slots[at - (position + 1 - slots.length)] ?? at;
}

function resultOf(rows: readonly HeadRow[], states: readonly number[], masks: readonly SettledMask[]): ForwardResult {
  const hidden = new Float32Array(rows.length * config.hiddenSize);
  for (const [r, state] of states.entries()) hidden[r * config.hiddenSize] = state;
  return {
    logits: rows.map(({ wantLogits }, r) => (wantLogits ? logitsOf(states[r]!) : undefined)),
    answers: rows.map(({ query }, r) => query && answerQuery(logitsOf(states[r]!), query, masks[r])),
    hidden,
    normed: hidden,
  };
}

/** A row of it begins with its position and its token. */
async function lap(
  experts: ExpertDispatch,
  layer: number,
  rows: readonly { position: number; tokenId?: number }[],
): Promise<void> {
  const numRows = rows.length;
  const x = Float32Array.from(rows.flatMap(({ position, tokenId = 0 }) => [position, tokenId, 0, 0]));
  const [topkIdx, topkWeights] = [new Int32Array(numRows * 2), new Float32Array(numRows * 2)];
  await experts.dispatch({ layer, numRows, x, topkIdx, topkWeights }).combine();
}
