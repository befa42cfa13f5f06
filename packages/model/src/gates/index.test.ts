import { describe, expect, it } from 'vitest';
import { rowRange } from '../work-item.ts';
import type { Assignments, GateLayer, Slots } from './gate-kind.ts';
import { GATES, type GateName, openGate } from './index.ts';

const names = Object.keys(GATES) as GateName[];
const layer: GateLayer = {
  layer: 0,
  numExperts: 4,
  vocabSize: 3,
  hashTable: Uint16Array.of(0, 1, 2, 3, 0, 2),
  holders: (expert) => [expert % 2],
};
/** What a gate can't do without. */
const NEEDED: Partial<Record<GateName, object>> = {
  'top-k': { k: 2 },
  'group-limited': { k: 2, nGroup: 2, topkGroup: 1 },
  'device-limited': { k: 2, maxPeers: 1 },
  'noisy-top-k': { k: 2 },
  hash: { k: 2 },
};
const open = (name: GateName, changes: object = {}) => openGate(name, { ...NEEDED[name], ...changes }, layer);
const logits = Float32Array.from({ length: 12 }, (_, i) => Math.sin(i * i));
const rows = { numRows: 3, logits, tokenIds: [0, 2, 1] };

/** What a choice says of one row: its experts and weights, or its share of each slot. */
function ofRow(choice: Assignments | Slots, row: number) {
  if (choice.kind === 'slots') return choice.dispatch.filter((_, i) => i % choice.numRows === row);
  const [from, to] = rowRange(choice, row);
  return [choice.experts.slice(from, to), choice.weights.slice(from, to)];
}

describe.each(names)('openGate(%s)', (name) => {
  it('names a logit that is NaN or infinite, with its row and column', () => {
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const bad = logits.slice();
      bad[6] = value;
      expect(() => open(name)({ ...rows, logits: bad })).toThrow(`gate ${name}: logits is ${value}: row 1, column 2`);
    }
  });

  it('names logits of another number of rows, and a setting that it does not have', () => {
    expect(() => open(name)({ ...rows, numRows: 4 })).toThrow(`gate ${name}: logits is 12 values: 4 rows of 4 are 16`);
    expect(() => open(name, { colour: 1 })).toThrow(`gate ${name}: colour is 1`);
    expect(() => openGate(name, null, layer)).toThrow(`gate ${name}: settings is null`);
  });

  it('says truly whether it sees a row alone or its whole sequence', () => {
    const equal = Float32Array.from({ length: 12 }, (_, i) => [2, 1, 0.5, 0][i % 4]!);
    const gate = open(name);
    const whole = gate({ ...rows, logits: equal });
    const alone = gate({ numRows: 1, logits: equal.slice(8), tokenIds: [1], positions: [2] });
    if (GATES[name].sees === 'row') expect(ofRow(whole, 2)).toEqual(ofRow(alone, 0));
    else expect(ofRow(whole, 2)).not.toEqual(ofRow(alone, 0));
  });

  it('takes the precision of its logits', () => {
    const choice = open(name)({ ...rows, logits: Float64Array.from(logits) });
    expect(choice.kind === 'slots' ? choice.dispatch : choice.weights).toBeInstanceOf(Float64Array);
  });
});
