import { describe, expect, it } from 'vitest';
import type { ExpertDispatch, MoeCall } from './dispatch.ts';
import { softmaxGate } from './families/gates.ts';
import type { GateSeen } from './forward-observer.ts';
import { LocalExperts } from './local-experts.ts';
import type { SequenceGate } from './model-config.ts';
import { gateWidth, slotsPerSequence } from './gate-width.ts';
import { routeRows } from './routing.ts';
import { RowFaults } from './row-faults.ts';

const [HIDDEN, EXPERTS] = [4, 3];
const waves = (length: number, seed: number) => Float32Array.from({ length }, (_, i) => Math.sin(seed + i * 2.3));

const experts: ExpertDispatch = new LocalExperts(
  { hiddenSize: HIDDEN, expert: { activation: 'gelu', bias: false } },
  async (_, e) => ({ gate: null, up: waves(HIDDEN * HIDDEN, e), down: waves(HIDDEN * HIDDEN, e + 9), biases: null }),
  { maxBytes: 1e6 },
);

function configOf(sequenceGate?: SequenceGate) {
  const gate = softmaxGate({ normTopkProb: false });
  return {
    hiddenSize: HIDDEN,
    nRoutedExperts: EXPERTS,
    numExpertsPerTok: 2,
    gate,
    ...(sequenceGate && { sequenceGate }),
  };
}

/** The experts' sums for sequences of these lengths, which are the parts of one text of rows from `firstRow` on. */
async function sumsOf(
  sequenceGate: SequenceGate,
  lengths: readonly number[],
  { firstRow = 0, damage }: { firstRow?: number; damage?: (logits: Float32Array) => void } = {},
) {
  const config = configOf(sequenceGate);
  const numRows = lengths.reduce((a, b) => a + b, 0);
  const width = gateWidth(config);
  const x = waves(16 * HIDDEN, 1).subarray(firstRow * HIDDEN, (firstRow + numRows) * HIDDEN);
  const logits = waves(16 * width, 5).slice(firstRow * width, (firstRow + numRows) * width);
  damage?.(logits);
  const faults = new RowFaults(lengths.flatMap((length) => Array.from({ length }, () => lengths)));
  let seen: GateSeen | undefined;
  const observe = { gate: (_: number, _idx: unknown, _weights: unknown, what: GateSeen) => void (seen = what) };
  const pass = { config, experts, observe, faults, lengths };
  const { call, rowSums } = routeRows(pass, { layer: 1, x, logits, bias: null });
  const sums = rowSums(await experts.dispatch(call).combine());
  return { call, sums, seen: seen!, faults: faults.into({ answers: [] }).faults };
}

const GATES: SequenceGate[] = [
  { name: 'expert-choice', settings: { capacityFactor: 1 } },
  { name: 'soft', settings: { slotsPerExpert: 2 } },
  { name: 'top-1-capacity', settings: { capacity: 1 } },
  { name: 'top-2-capacity', settings: { capacity: 2 } },
];

describe.each(GATES)('routeRows with the gate $name', (gate) => {
  it('gives each sequence of a batch the bits that it has alone', async () => {
    const { sums } = await sumsOf(gate, [5, 1, 3]);
    const alone = [
      await sumsOf(gate, [5]),
      await sumsOf(gate, [1], { firstRow: 5 }),
      await sumsOf(gate, [3], { firstRow: 6 }),
    ];
    expect(sums).toEqual(Float32Array.from(alone.flatMap((one) => [...one.sums])));
    const { sums: asOne } = await sumsOf(gate, [9]);
    expect(sums).not.toEqual(asOne);
  });

  it('takes nothing from a sequence with NaN among its logits, and says so', async () => {
    const damage = (logits: Float32Array) => void (logits[0] = Number.NaN);
    const { sums, faults, seen } = await sumsOf(gate, [5, 1, 3], { damage });
    const { sums: rest } = await sumsOf(gate, [1, 3], { firstRow: 5 });
    expect(sums.subarray(5 * HIDDEN)).toEqual(rest);
    expect([...new Set(sums.subarray(0, 5 * HIDDEN))]).toEqual([0]);
    expect(faults!.map((fault) => fault?.message)).toEqual([
      expect.stringMatching(/^a logit of the gate of layer 1 is NaN/),
      ...Array.from({ length: 8 }),
    ]);
    expect(seen.choices!.map((choice) => choice?.numRows)).toEqual([undefined, 1, 3]);
  });
});

describe('routeRows', () => {
  it('sends slots in the place of rows', async () => {
    const { call, sums } = await sumsOf(GATES[1]!, [5, 2]);
    expect([call.numRows, call.x.length, sums.length]).toEqual([12, 12 * HIDDEN, 7 * HIDDEN]);
    expect([...call.topkIdx]).toEqual([0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2]);
    // Shares sum to 1: a slot's value lies between those of its rows.
    const column = (values: Float32Array) => [...values].filter((_, i) => i % HIDDEN === 0);
    const rows = column(waves(5 * HIDDEN, 1));
    for (const value of column(call.x.subarray(0, 6 * HIDDEN))) {
      expect(value).toBeGreaterThan(Math.min(...rows));
      expect(value).toBeLessThan(Math.max(...rows));
    }
  });

  it('takes rows as sequences of their own where there are no lengths', async () => {
    const config = configOf({ name: 'top-1-capacity', settings: { capacity: 1 } });
    const call = (lengths: number[] | undefined): MoeCall => {
      const pass = { config, experts, observe: {}, faults: new RowFaults([{}, {}, {}]), lengths };
      const logits = Float32Array.from([9, 0, 0, 9, 0, 0, 9, 0, 0]);
      return routeRows(pass, { layer: 0, x: waves(3 * HIDDEN, 1), logits, bias: null }).call;
    };
    expect([...call(undefined).topkIdx]).toEqual([0, 0, 0]);
    expect([...call([3]).topkIdx]).toEqual([0, -1, -1]);
  });

  it('knows how many slots a sequence has', () => {
    expect([slotsPerSequence(configOf(GATES[1])), gateWidth(configOf(GATES[1]))]).toEqual([6, 6]);
    expect([slotsPerSequence(configOf(GATES[0])), gateWidth(configOf())]).toEqual([undefined, EXPERTS]);
  });
});
