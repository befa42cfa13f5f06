import { describe, expect, it } from 'vitest';
import { runExpert, type ExpertWeights } from './expert.ts';
import { NO_EXPERT } from './dispatch.ts';
import { LocalExperts } from './local-experts.ts';
import { silu } from './math.ts';

const config = { hiddenSize: 2, expert: { activation: 'swiglu', bias: false } } as const;
/** Bytes of one expert below: three matrices of 2 × 3 float32. */
const EXPERT_BYTES = 3 * 6 * 4;

/** Expert e of width 3, all different. */
function expert(e: number): ExpertWeights {
  const matrix = (seed: number) => Float32Array.from({ length: 6 }, (_, i) => Math.sin(seed + e * 7 + i));
  return { gate: matrix(1), up: matrix(2), down: matrix(3), biases: null };
}

function open(maxBytes: number) {
  const loads: string[] = [];
  const experts = new LocalExperts(
    config,
    (layer, e) => {
      loads.push(`${layer}/${e}`);
      return Promise.resolve(expert(e));
    },
    { maxBytes },
  );
  const call = (layer: number, ...topkIdx: number[]) => ({
    layer,
    numRows: topkIdx.length / 2,
    x: Float32Array.from({ length: topkIdx.length }, (_, i) => Math.cos(i)),
    topkIdx: Int32Array.from(topkIdx),
    topkWeights: Float32Array.from({ length: topkIdx.length }, (_, i) => 0.25 + i / 8),
  });
  return { experts, loads, call };
}

describe('runExpert', () => {
  it('is W_down (silu(W_gate x) ⊙ W_up x), row by row', () => {
    const w = expert(1);
    const y = runExpert('swiglu', Float32Array.of(9, 9, 0.5, -2), w, 2, 2);
    const product = (m: Float32Array, f: number) => m[2 * f]! * 0.5 - m[2 * f + 1]! * 2;
    const hidden = [0, 1, 2].map((f) => silu(product(w.gate!, f)) * product(w.up, f));
    for (const d of [0, 1])
      expect(y[2 + d]).toBeCloseTo(
        hidden.reduce((sum, h, f) => sum + w.down[d * 3 + f]! * h, 0),
        5,
      );
  });
});

describe('LocalExperts', () => {
  it('sums weight × expert over each row, the same bits whatever the batch', async () => {
    const { experts, call } = open(1e6);
    const both = call(3, 0, 5, 5, 2);
    const y = await experts.dispatch(both).combine();
    for (const r of [0, 1]) {
      const x = both.x.subarray(2 * r, 2 * r + 2);
      const alone = {
        layer: 3,
        numRows: 1,
        x,
        topkIdx: both.topkIdx.subarray(2 * r, 2 * r + 2),
        topkWeights: both.topkWeights.subarray(2 * r, 2 * r + 2),
      };
      expect(y.subarray(2 * r, 2 * r + 2)).toEqual(await experts.run(alone));
      const parts = [0, 1].map((k) =>
        runExpert('swiglu', x, expert(alone.topkIdx[k]!), 1, 2).map((v) => v * alone.topkWeights[k]!),
      );
      for (const d of [0, 1]) expect(y[2 * r + d]).toBeCloseTo(parts[0]![d]! + parts[1]![d]!, 5);
    }
  });

  it('adds nothing for places without an expert', async () => {
    const { experts, loads, call } = open(1e6);
    const some = call(3, NO_EXPERT, 5, NO_EXPERT, NO_EXPERT, 2, 5);
    const y = await experts.run(some);
    const all = await experts.run({
      ...some,
      topkIdx: Int32Array.of(5, 5, 0, 0, 2, 5),
      topkWeights: some.topkWeights.map((weight, i) => (i === 0 ? 0 : weight)),
    });
    expect([...y.subarray(0, 2), ...y.subarray(4)]).toEqual([...all.subarray(0, 2), ...all.subarray(4)]);
    expect([...y.subarray(2, 4)]).toEqual([0, 0]);
    expect(loads.slice(0, 2)).toEqual(['3/2', '3/5']);
  });

  it('loads each expert once, and again only when it had to leave', async () => {
    const { experts, loads, call } = open(2 * EXPERT_BYTES);
    await experts.run(call(1, 0, 1));
    await experts.run(call(1, 1, 0, 0, 1));
    expect(loads).toEqual(['1/0', '1/1']);
    await experts.run(call(2, 0, 1)); // other layers are other experts
    expect(loads).toEqual(['1/0', '1/1', '2/0', '2/1']);
    expect(experts.keptBytes).toBe(2 * EXPERT_BYTES);
    await experts.run(call(1, 0, 1));
    expect(loads).toHaveLength(6);
  });

  it('lets the least recently used go first', async () => {
    const { experts, loads, call } = open(3 * EXPERT_BYTES);
    await experts.run(call(1, 0, 1));
    await experts.run(call(1, 2, 0)); // kept, oldest first: 1, 0, 2
    await experts.run(call(1, 0, 3)); // 1 leaves
    loads.length = 0;
    await experts.run(call(1, 0, 3));
    expect(loads).toEqual([]);
    await experts.run(call(1, 1, 3));
    expect(loads).toEqual(['1/1']);
  });

  it('works, keeping nothing, when its bound is smaller than one expert', async () => {
    const { experts, loads, call } = open(EXPERT_BYTES - 1);
    await experts.run(call(1, 0, 1));
    await experts.run(call(1, 0, 1));
    expect(loads).toHaveLength(4);
    expect(experts.keptBytes).toBe(0);
  });

  it('loads once for calls at the same time', async () => {
    const { experts, loads, call } = open(1e6);
    await Promise.all([experts.run(call(1, 0, 1)), experts.run(call(1, 0, 1))]);
    expect(loads).toEqual(['1/0', '1/1']);
  });

  it('passes a failed load on, and tries again next time', async () => {
    let attempts = 0;
    const load = () => (attempts++ === 0 ? Promise.reject(new Error('disk gone')) : Promise.resolve(expert(0)));
    const experts = new LocalExperts(config, load, { maxBytes: 1e6 });
    const { call } = open(0);
    await expect(experts.run(call(1, 0, 1))).rejects.toThrow('disk gone');
    expect(await experts.run(call(1, 0, 1))).toHaveLength(2);
  });

  it('returns zeros for no rows at all', async () => {
    const { experts, call } = open(1e6);
    expect(await experts.run(call(1))).toEqual(new Float32Array(0));
  });
});
