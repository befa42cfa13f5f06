import type { z } from 'zod';
import { ModelError } from '../errors.ts';
import type { RowWork } from '../work-item.ts';
import type { Floats } from './scores.ts';

/** What a gate knows of the layer that it serves. */
export interface GateLayer {
  /** The layer's index; noise differs from layer to layer. */
  layer: number;
  numExperts: number;
  /** [numExperts], added to scores for the selection only; absent where the model has none. */
  bias?: Floats | null;
  /** [vocabSize, k], the experts of each token, for gates that look them up. */
  hashTable?: ArrayLike<number>;
  vocabSize?: number;
  /** The tabs that hold an expert, as numbers; for gates that count tabs. */
  holders?: (expert: number) => readonly number[];
}

/** What a gate sees of its rows: those of one sequence, in their order, or of several where it looks at each row alone. */
export interface GateRows {
  numRows: number;
  /** [numRows, numExperts], or one logit for each slot where a gate makes slots. */
  logits: Floats;
  /** [numRows] */
  tokenIds?: ArrayLike<number>;
  /** [numRows], places in the sequence; the row's index by default. */
  positions?: ArrayLike<number>;
  /** [numRows, numExperts], x·W_noise of a gate that has learned its noise. */
  noiseLogits?: Floats;
}

/** A row's experts, any number of them, with their weights. */
export interface Assignments extends RowWork {
  kind: 'assignments';
  rowEnd: Uint32Array;
  experts: Uint16Array;
  weights: Floats;
  /** What the gate chose and left out again, since the expert had no room. */
  dropped: readonly { row: number; expert: number }[];
}

/** Mixtures of rows in the place of rows. Slot s belongs to expert ⌊s / slotsPerExpert⌋. */
export interface Slots {
  kind: 'slots';
  numRows: number;
  numSlots: number;
  slotsPerExpert: number;
  /** [numSlots, numRows]: what each row contributes to a slot; 1 in sum for each slot. */
  dispatch: Floats;
  /** [numRows, numSlots]: what each slot contributes to a row; 1 in sum for each row. */
  combine: Floats;
}

/** A gate of the table: how it is set, and how it chooses. */
export interface GateKind<Settings = unknown, Choice extends Assignments | Slots = Assignments | Slots> {
  /** As people call it. */
  readonly title: string;
  /** The paper or the reference implementation. */
  readonly source: string;
  /**
   * `row`: a row's choice depends on this row only, so rows of any sequences may be given together. `sequence`: it depends on all
   * rows of its sequence, so each sequence is given by itself and whole.
   */
  readonly sees: 'row' | 'sequence';
  /** What can be set, with defaults, as JSON. */
  readonly settings: z.ZodType<Settings>;
  /** Logits of a row; `numExperts` by default. */
  numLogits?(settings: Settings, layer: GateLayer): number;
  /** Checks the settings against the layer, throws a ModelError that names the key, and returns the gate. */
  open(settings: Settings, layer: GateLayer): (rows: GateRows) => Choice;
}

/** An error that names the gate, the key and its value. */
export function gateError(gate: string, key: string, value: unknown, problem: string): ModelError {
  const shown = value === undefined ? 'missing' : String(typeof value === 'object' ? JSON.stringify(value) : value);
  return new ModelError('bad-value', key, `gate ${gate}: ${key} is ${shown.slice(0, 80)}: ${problem}`);
}

/** Throws unless there are at least k experts. */
export function checkTopK(gate: string, k: number, { numExperts }: GateLayer): void {
  if (k > numExperts) throw gateError(gate, 'k', k, `there are only ${numExperts} experts`);
}

/** The most rows that an expert takes of a sequence. */
export interface Capacity {
  capacity?: number | undefined;
  capacityFactor: number;
}

/** (rows of the sequence / experts) × factor, rounded down, and at least 1 (Fedus et al. 2021, eq. 3); or `capacity` as it is. */
export function expertCapacity(
  { capacity, capacityFactor }: Capacity,
  numRows: number,
  { numExperts }: GateLayer,
): number {
  return capacity ?? Math.max(1, Math.floor((numRows * capacityFactor) / numExperts));
}

/** Collects assignments row by row. */
export class AssignmentList {
  readonly #rowEnd: number[] = [];
  readonly #experts: number[] = [];
  readonly #weights: number[] = [];
  readonly #dropped: { row: number; expert: number }[] = [];

  /** Assigns an expert to the row that is open. */
  add(expert: number, weight: number): void {
    this.#experts.push(expert);
    this.#weights.push(weight);
  }

  /** Notes that the row that is open lost this expert. */
  drop(expert: number): void {
    this.#dropped.push({ row: this.#rowEnd.length, expert });
  }

  endRow(): void {
    this.#rowEnd.push(this.#experts.length);
  }

  /** All rows, with weights of the same type as `like`. */
  finish(like: Floats): Assignments {
    return {
      kind: 'assignments',
      numRows: this.#rowEnd.length,
      rowEnd: Uint32Array.from(this.#rowEnd),
      experts: Uint16Array.from(this.#experts),
      weights: like instanceof Float32Array ? Float32Array.from(this.#weights) : Float64Array.from(this.#weights),
      dropped: this.#dropped,
    };
  }
}
