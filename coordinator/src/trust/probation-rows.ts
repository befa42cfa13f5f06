import { type AssignedRow, halfRows, normalDraw, type Rng, rowRange, type RowSource } from '@shoal/model';
import type { Draw } from './audit-share.ts';

interface RecentRow extends AssignedRow {
  experts: Uint16Array;
  atMs: number;
}

/** For V3's 58 layers, 13 MB. */
const ROWS_KEPT_PER_LAYER = 16;
/** Kept briefly, since a hidden state reveals something of its prompt. */
const KEPT_FOR_MS = 60_000;

export interface ProbationRowsOptions {
  /** The gain of the norm before a layer's experts, [hiddenSize]. */
  normGain: (layer: number) => Float32Array;
  numExpertsPerTok: number;
  draw: Draw;
  now?: () => number;
}

/** Rows for peers on probation: from the last minute's traffic or, if it has none, random rows like them. */
export class ProbationRows {
  readonly #options: ProbationRowsOptions;
  readonly #now: () => number;
  readonly #byLayer = new Map<number, RecentRow[]>();

  constructor(options: ProbationRowsOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  /** Keeps one of these rows of a dispatch. */
  note(work: RowSource, among: readonly number[]): void {
    if (among.length === 0) return;
    const { layer, rows, exponents, numRows, experts, weights } = work;
    const D = rows.length / numRows;
    const row = among[this.#options.draw(among.length)]!;
    const assignments = rowRange(work, row);
    const kept = this.#byLayer.get(layer) ?? [];
    this.#byLayer.set(layer, kept);
    kept.push({
      row: rows.slice(row * D, (row + 1) * D),
      exponent: exponents?.[row],
      experts: Uint16Array.from(experts).slice(...assignments),
      weights: Float32Array.from(weights).slice(...assignments),
      atMs: this.#now(),
    });
    if (kept.length > ROWS_KEPT_PER_LAYER) kept.shift();
  }

  /** Drops expired rows. */
  tick(): void {
    for (const [layer, kept] of this.#byLayer) {
      const fresh = kept.filter((row) => this.#now() - row.atMs <= KEPT_FOR_MS);
      if (fresh.length > 0) this.#byLayer.set(layer, fresh);
      else this.#byLayer.delete(layer);
    }
  }

  /** A row for a peer that holds these experts of a layer: a recent row for one of them, or else a random one. */
  next(layer: number, held: ReadonlySet<number>, rng: Rng): AssignedRow {
    this.tick();
    const recent = (this.#byLayer.get(layer) ?? []).filter((row) => row.experts.some((expert) => held.has(expert)));
    if (recent.length === 0) return this.#random(layer, [...held], rng);
    const { row, exponent, experts, weights } = recent[Math.floor(rng() * recent.length)]!;
    const mine = [...experts.keys()].filter((i) => held.has(experts[i]!));
    return { row, exponent, experts: mine.map((i) => experts[i]!), weights: mine.map((i) => weights[i]!) };
  }

  /** A random row like those that RMSNorm makes: normally distributed, scaled to unit mean square, times the norm's gain. */
  #random(layer: number, held: number[], rng: Rng): AssignedRow {
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
    const { rows: row, exponents } = halfRows(x, x.length);
    const weights = shares.map((share) => share / sum);
    return { row, exponent: exponents?.[0], experts: held.slice(0, count), weights };
  }
}
