import {
  checkCombined,
  chooserOf,
  type ExpertDispatch,
  type MoeCall,
  NO_EXPERT,
  topkOfAssignments,
} from './dispatch.ts';
import { selectExperts } from './gate.ts';
import type { Assignments, GateRows, Slots } from './gates/gate-kind.ts';
import { openGate } from './gates/index.ts';
import { gateWidth, slotsPerSequence } from './gate-width.ts';
import { mixIntoRows, mixIntoSlots } from './gates/soft.ts';
import type { ForwardObserver } from './forward-observer.ts';
import type { ModelConfig } from './model-config.ts';
import type { RowFaults } from './row-faults.ts';

/** What gates of the table need of a pass. */
export interface RoutedPass {
  config: Pick<ModelConfig, 'hiddenSize' | 'nRoutedExperts' | 'numExpertsPerTok' | 'gate' | 'sequenceGate'>;
  experts: ExpertDispatch;
  observe: ForwardObserver;
  faults: RowFaults;
  /** Rows of each sequence in turn, for gates that look at a whole sequence; without it each row is a sequence of its own. */
  lengths?: readonly number[] | undefined;
}

/** One layer's rows before its experts. */
export interface LayerRows {
  layer: number;
  /** [numRows, hiddenSize], the experts' input. */
  x: Float32Array;
  /** [numRows, gateWidth(config)] */
  logits: Float32Array;
  /** [nRoutedExperts], for selection only; null without one. */
  bias: Float32Array | null;
}

/** What a gate has made of a layer's rows. */
export interface Routing {
  call: MoeCall;
  /** Of the call's sums, the rows' sums [numRows, hiddenSize]. Notes rows whose sums or weights are not finite. */
  rowSums(combined: Float32Array): Float32Array;
}

/** The gate of both engines: from its logits, the call for experts, and the way from the call's sums to those of the rows. */
export function routeRows(pass: RoutedPass, rows: LayerRows): Routing {
  return pass.config.sequenceGate ? routeSequences(pass, rows) : routeEachRow(pass, rows);
}

/** By a gate that looks at each row alone. */
function routeEachRow(
  { config, experts, observe, faults }: RoutedPass,
  { layer, x, logits, bias }: LayerRows,
): Routing {
  const numRows = x.length / config.hiddenSize;
  const { topkIdx, topkWeights } = selectExperts(config, logits, bias, numRows, chooserOf(experts, layer));
  observe.gate?.(layer, topkIdx, topkWeights, { logits, bias });
  return routingOf(moeCall(config, { layer, numRows, x, topkIdx, topkWeights }), faults);
}

/** Where weights multiply an expert's input, a row has one expert: the row is sent multiplied, with weight 1. */
function moeCall({ gate }: Pick<ModelConfig, 'gate'>, call: MoeCall): MoeCall {
  if (!gate.scalesInput) return call;
  const hiddenSize = call.x.length / call.numRows;
  const x = call.x.map((value, i) => value * call.topkWeights[Math.floor(i / hiddenSize)]!);
  return { ...call, x, topkWeights: new Float32Array(call.topkWeights.length).fill(1) };
}

/** Of a call whose rows are those of the layer. */
function routingOf(call: MoeCall, faults: RowFaults): Routing {
  return {
    call,
    rowSums: (combined) => {
      checkCombined(combined, call);
      faults.checkExperts(call, combined);
      return combined;
    },
  };
}

/** A sequence's rows, and what its gate has chosen; undefined where their logits are not finite. */
interface GatedSequence {
  firstRow: number;
  numRows: number;
  choice: Assignments | Slots | undefined;
}

/** By a gate that looks at all rows of a sequence: at each sequence by itself, so that those of a batch don't mix. */
function routeSequences(pass: RoutedPass, rows: LayerRows): Routing {
  const { config, observe, faults } = pass;
  const { layer, x, logits, bias } = rows;
  const numRows = x.length / config.hiddenSize;
  faults.check(logits, () => `a logit of the gate of layer ${layer}`);
  const sequences = gateSequences(pass, rows, numRows);
  const numSlots = slotsPerSequence(config);
  const call =
    numSlots === undefined
      ? { layer, numRows, x, ...topkOfAssignments(joined(sequences, config.sequenceGate!.factor)) }
      : slotCall(sequences, layer, x, config.hiddenSize, numSlots);
  const choices = sequences.map(({ choice }) => choice);
  observe.gate?.(layer, call.topkIdx, call.topkWeights, { logits, bias, choices });
  if (numSlots === undefined) return routingOf(call, faults);
  return {
    call,
    rowSums: (combined) => {
      checkCombined(combined, call);
      const sums = sumsOfSlots(sequences, combined, config.hiddenSize, numSlots);
      faults.check(sums, () => `the sum of the slots of layer ${layer}`);
      return sums;
    },
  };
}

function gateSequences(
  { config, lengths }: RoutedPass,
  { layer, logits, bias }: LayerRows,
  numRows: number,
): GatedSequence[] {
  const { name, settings } = config.sequenceGate!;
  const gate: (rows: GateRows) => Assignments | Slots = openGate(name, settings, {
    layer,
    numExperts: config.nRoutedExperts,
    bias,
  });
  const width = gateWidth(config);
  let firstRow = 0;
  return (lengths ?? Array.from({ length: numRows }, () => 1)).map((length) => {
    const own = logits.subarray(firstRow * width, (firstRow + length) * width);
    const choice = own.every(Number.isFinite) ? gate({ numRows: length, logits: own }) : undefined;
    firstRow += length;
    return { firstRow: firstRow - length, numRows: length, choice };
  });
}

/** The sequences' assignments in one list; none for the rows of a sequence without a choice. */
function joined(sequences: readonly GatedSequence[], factor = 1) {
  const numRows = sequences.reduce((sum, sequence) => sum + sequence.numRows, 0);
  const rowEnd = new Uint32Array(numRows);
  const experts: number[] = [];
  const weights: number[] = [];
  for (const { firstRow, numRows: count, choice } of sequences) {
    const before = experts.length;
    const own = choice?.kind === 'assignments' ? choice : undefined;
    for (let row = 0; row < count; row++) rowEnd[firstRow + row] = before + (own?.rowEnd[row] ?? 0);
    if (!own) continue;
    experts.push(...own.experts);
    for (const weight of own.weights) weights.push(factor * weight);
  }
  return { numRows, rowEnd, experts, weights };
}

/** A call whose rows are the slots of each sequence in turn, with one expert each. */
function slotCall(
  sequences: readonly GatedSequence[],
  layer: number,
  x: Float32Array,
  hiddenSize: number,
  numSlots: number,
): MoeCall {
  const numRows = sequences.length * numSlots;
  const slots = new Float32Array(numRows * hiddenSize);
  const topkIdx = new Int32Array(numRows).fill(NO_EXPERT);
  for (const [i, { firstRow, numRows: count, choice }] of sequences.entries()) {
    if (choice?.kind !== 'slots') continue;
    const own = x.subarray(firstRow * hiddenSize, (firstRow + count) * hiddenSize);
    slots.set(mixIntoSlots(choice, own), i * numSlots * hiddenSize);
    for (let slot = 0; slot < numSlots; slot++) {
      topkIdx[i * numSlots + slot] = Math.floor(slot / choice.slotsPerExpert);
    }
  }
  const topkWeights = Float32Array.from(topkIdx, (expert) => (expert === NO_EXPERT ? 0 : 1));
  return { layer, numRows, x: slots, topkIdx, topkWeights };
}

/** What the rows [numRows, hiddenSize] get of the slots' sums; 0 for those of a sequence without a choice. */
function sumsOfSlots(
  sequences: readonly GatedSequence[],
  combined: Float32Array,
  hiddenSize: number,
  numSlots: number,
): Float32Array {
  const numRows = sequences.reduce((sum, sequence) => sum + sequence.numRows, 0);
  const sums = new Float32Array(numRows * hiddenSize);
  const width = numSlots * hiddenSize;
  for (const [i, { firstRow, choice }] of sequences.entries()) {
    if (choice?.kind !== 'slots') continue;
    sums.set(mixIntoRows(choice, combined.subarray(i * width, (i + 1) * width)), firstRow * hiddenSize);
  }
  return sums;
}
