import {
  type Assignments,
  assignmentsOfCall,
  type ExpertDispatch,
  type ForwardObserver,
  type GateLayer,
  type GateRows,
  type GateSeen,
  halfRows,
  mixIntoRows,
  mixIntoSlots,
  type MoeCall,
  rowRange,
  type RowWork,
  type Slots,
  uniformRowEnd,
} from '@shoal/model';
import { roundedRows } from '@shoal/protocol';
import type { LocalCompute } from '../local-experts/local-compute.ts';
import { LabError } from './lab-error.ts';

/** A gate that takes the place of the model's. */
export type StudyGate = (layer: GateLayer) => (rows: GateRows) => Assignments | Slots;

export interface StudyOptions {
  hiddenSize: number;
  numExperts: number;
  tokenIds: readonly number[];
  /** Undefined: the model's own gate. */
  gate: StudyGate | undefined;
  /** What the gate is told of a layer. */
  layerFacts: (layer: number) => Omit<GateLayer, 'layer' | 'numExperts' | 'bias'>;
  local: LocalCompute;
  /** Called with each layer's choice, in order. */
  onLayer: (layer: number, choice: Assignments | Slots) => void;
  signal: AbortSignal;
}

/** Assignments in all layers together: 256 tokens of 8 experts in 64 layers, and twice that. */
const MAX_ASSIGNMENTS = 1 << 18;
/** Assignments that are computed at a time, so that laps and audits get their turn between. */
const ASSIGNMENTS_AT_ONCE = 1_024;

/**
 * The routed experts of one pass, chosen by a gate of the caller's instead of the model's, and computed by the coordinator from
 * the same packed weights and rounded rows as laps are. Laps and audits of others go first.
 */
export class StudyExperts implements ExpertDispatch {
  readonly observer: ForwardObserver;
  readonly #options: StudyOptions;
  #own: { choice: Assignments | Slots; seen: GateSeen } | undefined;
  #assignments = 0;

  constructor(options: StudyOptions) {
    this.#options = options;
    this.observer = {
      gate: (_layer, topkIdx, topkWeights, seen) => {
        // Of a gate that looks at the whole text: its choice as it made it. There is none where a logit is not finite.
        const numRows = options.tokenIds.length;
        const work = assignmentsOfCall({ numRows, topkIdx, topkWeights });
        this.#own = { choice: seen.choices?.[0] ?? { kind: 'assignments', ...work, dropped: [] }, seen };
      },
    };
  }

  dispatch(call: MoeCall): { combine(): Promise<Float32Array> } {
    const { gate, onLayer } = this.#options;
    const { choice: own } = this.#own!;
    const choice = gate ? this.#choose(gate, call) : own;
    this.#count(choice);
    onLayer(call.layer, choice);
    // The model's own call has slots already, and weights of 1 where its gate scales inputs.
    if (!gate) return { combine: () => this.#sums(call.layer, call.x, assignmentsOfCall(call)) };
    return { combine: () => this.#compute(call.layer, call.x, choice) };
  }

  #choose(gate: StudyGate, { layer, numRows }: MoeCall): Assignments | Slots {
    const { tokenIds, numExperts, layerFacts } = this.#options;
    const { logits, bias } = this.#own!.seen;
    return gate({ ...layerFacts(layer), layer, numExperts, bias })({ numRows, logits, tokenIds });
  }

  #count(choice: Assignments | Slots): void {
    this.#assignments += choice.kind === 'slots' ? choice.numSlots : choice.experts.length;
    if (this.#assignments <= MAX_ASSIGNMENTS) return;
    const problem = `This gate gives the text's tokens more than ${MAX_ASSIGNMENTS} experts in all layers together`;
    throw new LabError('invalid', `${problem}. Choose fewer experts for each token, or a shorter text.`, 'settings');
  }

  async #compute(layer: number, x: Float32Array, choice: Assignments | Slots): Promise<Float32Array> {
    if (choice.kind === 'assignments') return this.#sums(layer, x, choice);
    const { numSlots, slotsPerExpert } = choice;
    const experts = Uint16Array.from({ length: numSlots }, (_, slot) => Math.floor(slot / slotsPerExpert));
    const each = { numRows: numSlots, rowEnd: uniformRowEnd(numSlots, 1), experts };
    const weights = new Float32Array(numSlots).fill(1);
    const slots = mixIntoSlots(choice, x) as Float32Array;
    return mixIntoRows(choice, await this.#sums(layer, slots, { ...each, weights })) as Float32Array;
  }

  /** Σ weight × expert(row) of each row, [numRows, hiddenSize]; zeros for rows without experts. */
  async #sums(layer: number, x: Float32Array, work: RowWork): Promise<Float32Array> {
    const { hiddenSize, local, signal } = this.#options;
    const sums = new Float32Array(x.length);
    for (const rows of pieces(work)) {
      signal.throwIfAborted();
      const item = itemOf(layer, x, hiddenSize, work, rows);
      const partial = roundedRows('f16', await local.compute(item), hiddenSize);
      for (const [i, row] of rows.entries()) {
        sums.set(partial.subarray(i * hiddenSize, (i + 1) * hiddenSize), row * hiddenSize);
      }
    }
    return sums;
  }
}

/** The rows that have experts, in pieces of few assignments. */
function* pieces(work: RowWork): Iterable<number[]> {
  let rows: number[] = [];
  let count = 0;
  for (let row = 0; row < work.numRows; row++) {
    const [from, to] = rowRange(work, row);
    if (from === to) continue;
    if (rows.length > 0 && count + to - from > ASSIGNMENTS_AT_ONCE) {
      yield rows;
      [rows, count] = [[], 0];
    }
    rows.push(row);
    count += to - from;
  }
  if (rows.length > 0) yield rows;
}

function itemOf(layer: number, x: Float32Array, hiddenSize: number, work: RowWork, rows: readonly number[]) {
  const values = new Float32Array(rows.length * hiddenSize);
  const assignments: number[] = [];
  const rowEnd = new Uint16Array(rows.length);
  for (const [i, row] of rows.entries()) {
    values.set(x.subarray(row * hiddenSize, (row + 1) * hiddenSize), i * hiddenSize);
    const [from, to] = rowRange(work, row);
    for (let a = from; a < to; a++) assignments.push(a);
    rowEnd[i] = assignments.length;
  }
  return {
    layer,
    numRows: rows.length,
    ...halfRows(values, hiddenSize),
    rowEnd,
    experts: Uint16Array.from(assignments, (a) => work.experts[a]!),
    weights: Float32Array.from(assignments, (a) => work.weights[a]!),
  };
}
