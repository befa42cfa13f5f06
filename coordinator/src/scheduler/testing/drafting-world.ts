import {
  createRng,
  type EngineMtpRow,
  type EngineRow,
  type ExpertDispatch,
  type ForwardEngine,
  type ForwardObserver,
  normalDraw,
  parseModelConfig,
  type SequenceCache,
  type SequencePages,
  type TokenAnswer,
} from '@shoal/model';
import { smallConfigJson } from './small-config.ts';
import type { VirtualTime } from './virtual-time.ts';

export const WORLD_LAYERS = 5;
const HIDDEN = 4;
const VOCAB = 4096;
const PAGE_POSITIONS = 16;
const NUM_PAGES = 4096;
const config = parseModelConfig({
  ...smallConfigJson,
  vocab_size: VOCAB,
  hidden_size: HIDDEN,
  num_hidden_layers: WORLD_LAYERS,
  first_k_dense_replace: 0,
  num_nextn_predict_layers: 1,
  max_position_embeddings: 2048,
  eos_token_id: VOCAB - 1,
});

/** What the engine's threads and the tabs take, in milliseconds. */
export interface WorldCosts {
  roundTripMs: number;
  /** One layer of any pass, and of each row. */
  layerMs: number;
  layerRowMs: number;
  /** The head of any pass, and of each row whose token is asked for. */
  headMs: number;
  headRowMs: number;
  /** The tabs' work for one lap, and for each row of it. */
  tabMs: number;
  tabRowMs: number;
  /** Whether the tabs work on the coordinator's cores, as where one machine is all there is. */
  isOneMachine: boolean;
  /** Standard deviation of the logarithm of every time. */
  noise: number;
}

/** How a text can be drafted by the module: where it is unsure, and how often it is right there and elsewhere. */
export interface WorldText {
  /** Share of positions at which the module is unsure. */
  unsure: number;
  /** How often the draft that it draws is right there, and elsewhere. */
  rightUnsure: number;
  rightSure: number;
  /** What becomes of both with each depth after the first. */
  byDepth: number;
  /** The module's own probability of that draft there, and elsewhere. */
  saysUnsure: number;
  saysSure: number;
  /** How often each of the next likeliest is right where that draft is not. */
  others: readonly number[];
  /** Tokens after which the text repeats itself; 0: never. */
  period: number;
}

/** Positions of a sequence; on pages, so that the module may leave some out. */
class WorldCache implements SequenceCache {
  allocatedBytes = 0;
  stream = 0;
  length: number;
  readonly #pages: SequencePages | undefined;

  constructor(length: number, pages?: SequencePages) {
    this.length = length;
    this.#pages = pages;
  }

  append(count: number): void {
    this.#pages?.append(count);
    this.length += count;
  }

  truncate(length: number): void {
    this.#pages?.truncate(length);
    this.length = length;
  }

  keep(length: number, slots: readonly number[]): void {
    this.truncate(length + slots.length);
  }

  free(): void {
    this.#pages?.close();
  }
}

const mixed = (a: number, b: number, salt: number): number => {
  let x = Math.imul(a + 1, 0x9e3779b1) ^ Math.imul(b + 1, 0x85ebca6b) ^ Math.imul(salt, 0xc2b2ae35);
  x = Math.imul(x ^ (x >>> 15), 0x2c1b3c6d);
  x = Math.imul(x ^ (x >>> 12), 0x297a2d39);
  return ((x ^ (x >>> 15)) >>> 0) / 2 ** 32;
};

/**
 * A model whose texts are known, and that takes a known time: the dense engine one program after another, as on its threads, and tabs
 * one lap after another, half a round trip away. A stream's number is the first token of its prompt. Its MTP module is as often right
 * as the text says.
 */
export class DraftingWorld {
  readonly forward: ForwardEngine;
  readonly #time: VirtualTime;
  readonly #costs: WorldCosts;
  readonly #text: WorldText;
  readonly #rng: () => number;
  /** Calls of the module since start, and their rows. */
  readonly module = { calls: 0, rows: 0 };
  #engineFreeMs = 0;
  #tabsFreeMs = 0;

  constructor(time: VirtualTime, costs: WorldCosts, text: WorldText, seed: number) {
    this.#time = time;
    this.#costs = costs;
    this.#text = text;
    this.#rng = createRng(seed);
    this.forward = {
      name: 'reference',
      config,
      kvBytesPerToken: 1,
      mtpKvBytesPerToken: 1,
      lendPages: () => ({ numPages: NUM_PAGES, pagePositions: PAGE_POSITIONS, bytesPerPage: PAGE_POSITIONS }),
      sequenceOn: (pages) => new WorldCache(pages.length, pages),
      mtpSequenceOn: (_, length) => new WorldCache(length),
      expertNormGain: () => new Float32Array(HIDDEN),
      newSequence: () => new WorldCache(0),
      openAdapter: () => {
        throw new Error('there are no adapters here');
      },
      newMtpSequence: () => new WorldCache(0),
      forward: (rows, experts, observe) => this.#pass(rows, experts, observe),
      forwardMtp: (rows) => this.#module(rows),
      close: async () => {},
    };
  }

  readonly experts = {
    batch: (): ExpertDispatch => ({
      dispatch: ({ x, numRows }) => {
        const back = this.#lap(numRows);
        return { combine: () => back.then(() => x) };
      },
    }),
  };

  /** The token of a stream at a position after its prompt. */
  token(stream: number, position: number): number {
    const { period } = this.#text;
    return Math.floor(mixed(stream, period > 0 ? position % period : position, 1) * (VOCAB - 2));
  }

  /** A prompt of a stream: as the text goes on, so that a text that repeats itself does so from its first token. */
  prompt(stream: number, length: number): number[] {
    return [stream, ...Array.from({ length: length - 1 }, (_, i) => this.token(stream, i + 1))];
  }

  async #lap(numRows: number): Promise<void> {
    const { roundTripMs, tabMs, tabRowMs, isOneMachine } = this.#costs;
    const workMs = tabMs + tabRowMs * numRows;
    if (isOneMachine) {
      await this.#time.after(roundTripMs);
      await this.#work(workMs);
      return;
    }
    const startedMs = Math.max(this.#time.nowMs + roundTripMs / 2, this.#tabsFreeMs);
    this.#tabsFreeMs = startedMs + this.#took(workMs);
    await this.#time.until(this.#tabsFreeMs + roundTripMs / 2);
  }

  #took(ms: number): number {
    return ms * Math.exp(this.#costs.noise * normalDraw(this.#rng));
  }

  async #work(ms: number): Promise<{ queuedMs: number; startedMs: number; endedMs: number }> {
    const queuedMs = this.#time.nowMs;
    const startedMs = Math.max(queuedMs, this.#engineFreeMs);
    const endedMs = (this.#engineFreeMs = startedMs + this.#took(ms));
    await this.#time.until(endedMs);
    return { queuedMs, startedMs, endedMs };
  }

  async #pass(rows: readonly EngineRow[], experts: ExpertDispatch, observe: ForwardObserver = {}) {
    const { layerMs, layerRowMs, headMs, headRowMs } = this.#costs;
    const numRows = rows.length;
    for (const { cache, position, tokenId } of rows) {
      const own = cache as WorldCache;
      if (position === 0) own.stream = tokenId;
      own.append(1);
    }
    const [x, topkWeights] = [new Float32Array(1), new Float32Array(1)];
    for (let layer = 0; layer < WORLD_LAYERS; layer++) {
      const times = await this.#work(layerMs + layerRowMs * numRows);
      observe.segment?.({ kind: 'gate', layer, numRows, ...times });
      const handle = experts.dispatch({ layer, numRows, x, topkIdx: new Int32Array(1), topkWeights });
      observe.waits?.(layer);
      await handle.combine();
      observe.resumes?.(layer);
    }
    const asked = rows.filter(({ query }) => query).length;
    const times = await this.#work(headMs + headRowMs * asked);
    observe.segment?.({ kind: 'head', layer: WORLD_LAYERS, numRows, ...times });
    const hidden = new Float32Array(numRows * HIDDEN);
    const answers = rows.map(({ cache, position, query }, row): TokenAnswer | undefined => {
      const { stream } = cache as WorldCache;
      hidden.set([stream, 1, 1], row * HIDDEN);
      return query && { tokenId: this.token(stream, position + 1) };
    });
    return { logits: rows.map(() => undefined), answers, hidden, normed: hidden };
  }

  /** One layer and its experts, which the coordinator computes itself. */
  async #module(rows: readonly EngineMtpRow[]) {
    const { layerMs, layerRowMs, headMs, headRowMs, tabRowMs } = this.#costs;
    const asked = rows.filter(({ query }) => query).length;
    this.module.calls++;
    this.module.rows += rows.length;
    for (const { cache } of rows) (cache as WorldCache).length++;
    await this.#work(layerMs + (layerRowMs + tabRowMs) * rows.length + headMs + headRowMs * asked);
    const hidden = new Float32Array(rows.length * HIDDEN);
    const answers = rows.map(({ hidden: before, nextTokenId, position, query }, row) => {
      const [stream, wasRight, depth] = [before[0]!, before[1]!, before[2]!];
      const isRight = wasRight === 1 && nextTokenId === this.token(stream, position + 1);
      hidden.set([stream, Number(isRight), depth + 1], row * HIDDEN);
      return query && this.#drafts(stream, position + 2, isRight, depth);
    });
    return { logits: rows.map(() => undefined), answers, hidden, normed: hidden };
  }

  /** The draft that the module draws for a position, and the likeliest others. */
  #drafts(stream: number, position: number, isRight: boolean, depth: number): TokenAnswer {
    const { unsure, rightUnsure, rightSure, byDepth, saysUnsure, saysSure, others } = this.#text;
    const isUnsure = mixed(stream, position, 2) < unsure;
    const says = isUnsure ? saysUnsure : saysSure;
    const rate = (isUnsure ? rightUnsure : rightSure) * byDepth ** (depth - 1);
    const isDrawn = isRight && mixed(stream, position, 3) < rate;
    let left = mixed(stream, position, 4);
    const rank = isDrawn || !isRight ? -1 : others.findIndex((share) => (left -= share) < 0);
    const wrong = (i: number): number => Math.floor(mixed(stream, position, 10 + i) * (VOCAB - 2));
    const truth = this.token(stream, position);
    const rest = others.map((_, i) => ({
      tokenId: i === rank ? truth : wrong(i + 1),
      logprob: Math.log((1 - says) * 2 ** -(i + 1)),
    }));
    const drawn = { tokenId: isDrawn ? truth : wrong(0), logprob: Math.log(says) };
    return { ...drawn, topLogprobs: [drawn, ...rest] };
  }
}
