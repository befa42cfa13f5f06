import { encodeF16, normalDraw, type Rng } from '@shoal/model';
import type { Draw } from './adaptive-replication.ts';

/** One row as a dispatch frame would carry it. */
export interface ProbationRow {
  /** f16 bits, [hiddenSize] */
  row: Uint16Array;
  experts: number[];
  weights: number[];
}

interface NotedRow extends ProbationRow {
  atMs: number;
}

/** Of each layer. V3's 58 layers keep 13 MB of rows so. */
const ROWS_KEPT_PER_LAYER = 16;
/** A hidden state says something of its prompt: it is not kept for longer than it is likely to be of use. */
const KEPT_FOR_MS = 60_000;

export interface ProbationRowsOptions {
  /** The gain of the norm before a layer's experts, [hiddenSize]. */
  normGain: (layer: number) => Float32Array;
  numExpertsPerTok: number;
  draw: Draw;
  now?: () => number;
}

/** Work for peers in probation: rows of the last minute's traffic, and where there are none, rows like them. */
export class ProbationRows {
  readonly #options: ProbationRowsOptions;
  readonly #now: () => number;
  readonly #byLayer = new Map<number, NotedRow[]>();

  constructor(options: ProbationRowsOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  /** Keep one row of a lap. rows: f16 bits [numRows, hiddenSize]; topkIdx, topkWeights: [numRows, numExpertsPerTok]. */
  note(layer: number, rows: Uint16Array, numRows: number, topkIdx: Uint16Array, topkWeights: Float32Array): void {
    if (numRows === 0) return;
    const [D, topK] = [rows.length / numRows, topkIdx.length / numRows];
    const row = this.#options.draw(numRows);
    const kept = this.#byLayer.get(layer) ?? [];
    this.#byLayer.set(layer, kept);
    kept.push({
      row: rows.slice(row * D, (row + 1) * D),
      experts: [...topkIdx.subarray(row * topK, (row + 1) * topK)],
      weights: [...topkWeights.subarray(row * topK, (row + 1) * topK)],
      atMs: this.#now(),
    });
    if (kept.length > ROWS_KEPT_PER_LAYER) kept.shift();
  }

  /** Forget what is older than a minute. */
  tick(): void {
    for (const [layer, kept] of this.#byLayer) {
      const fresh = kept.filter((row) => this.#now() - row.atMs <= KEPT_FOR_MS);
      if (fresh.length > 0) this.#byLayer.set(layer, fresh);
      else this.#byLayer.delete(layer);
    }
  }

  /** A row for a peer that holds these experts of a layer; of recent traffic, or made if none of it went to them. */
  next(layer: number, held: ReadonlySet<number>, rng: Rng): ProbationRow {
    this.tick();
    const recent = (this.#byLayer.get(layer) ?? []).filter((row) => row.experts.some((expert) => held.has(expert)));
    if (recent.length === 0) return this.#made(layer, [...held], rng);
    const { row, experts, weights } = recent[Math.floor(rng() * recent.length)]!;
    const mine = [...experts.keys()].filter((i) => held.has(experts[i]!));
    return { row, experts: mine.map((i) => experts[i]!), weights: mine.map((i) => weights[i]!) };
  }

  /** As RMSNorm leaves them: normally distributed, of unit mean square, times the norm's gain. */
  #made(layer: number, held: number[], rng: Rng): ProbationRow {
    const gain = this.#options.normGain(layer);
    const x = Float32Array.from(gain, () => normalDraw(rng));
    const rms = Math.sqrt(x.reduce((sum, value) => sum + value * value, 0) / x.length);
    for (let d = 0; d < x.length; d++) x[d] = (x[d]! / rms) * gain[d]!;
    const count = Math.min(held.length, this.#options.numExpertsPerTok);
    for (let i = 0; i < count; i++) {
      const other = i + Math.floor(rng() * (held.length - i));
      [held[i], held[other]] = [held[other]!, held[i]!];
    }
    const shares = Array.from({ length: count }, () => 0.1 + rng());
    const sum = shares.reduce((a, b) => a + b, 0);
    return { row: encodeF16(x), experts: held.slice(0, count), weights: shares.map((share) => share / sum) };
  }
}
