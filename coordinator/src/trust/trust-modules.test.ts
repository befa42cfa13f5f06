import {
  createRng,
  decodeF16,
  encodeF16,
  normalDraw,
  swigluExpert,
  type WorkItem,
  uniformWorkItem,
} from '@shoal/model';
import { roundRows } from '@shoal/protocol';
import { describe, expect, it } from 'vitest';
import { auditShare, MIN_AUDIT_SHARE, PROBATION_ROWS, RowDraw } from './adaptive-replication.ts';
import { type AuditedPeer, Auditor } from './auditor.ts';
import { backendOf, boundsFor, calibration, MARGIN, uncalibrated } from './bounds.ts';
import { compareRow } from './compare.ts';
import { ExpertCoverage, MAX_UNAUDITED_USES } from './expert-coverage.ts';
import { Judge } from './judge.ts';
import { NormLimits } from './norm-limits.ts';
import { PeerTrust } from './peer-trust.ts';
import { ADDRESS_BASE_MS, DONOR_BASE_MS, FAILURE_FADES_MS, Quarantine } from './quarantine.ts';
import { ProbationRows } from './probation-rows.ts';

const HIDDEN = 16;
const WIDTH = 8;
const BOUNDS = { maxRelativeL2: 1e-3, maxNormDeviation: 1e-3, rowFormat: 'f16' } as const;

const drawFrom = (seed: number) => {
  const rng = createRng(seed);
  return (below: number) => Math.floor(rng() * below);
};
const usedRow = (experts: number[], weights: number[]) => ({
  layer: 1,
  experts: Uint16Array.from(experts),
  weights: Float32Array.from(weights),
});
const randoms = (length: number, rng: () => number, scale = 1) =>
  Float32Array.from({ length }, () => (rng() - 0.5) * 2 * scale);
const scaled = (row: Float32Array, factor: number) => row.map((value) => value * factor);

describe('comparing a row', () => {
  const expected = randoms(HIDDEN, createRng(1));

  it('passes what f16 makes of it, and tells how far off the rest is', () => {
    const honest = compareRow(scaled(expected, 1 + 2 ** -12), expected, BOUNDS);
    expect(honest.verdict).toBe('match');
    const liar = compareRow(scaled(expected, 1.01), expected, BOUNDS);
    expect(liar.verdict).toBe('mismatch');
    expect(liar.relativeL2).toBeCloseTo(0.01, 5);
    expect(liar.normDeviation).toBeCloseTo(0.01, 5);
  });

  it('tells by the norm alone what the distance would let through', () => {
    const wide = { ...BOUNDS, maxRelativeL2: 0.1 };
    expect(compareRow(scaled(expected, 1.01), expected, wide).verdict).toBe('mismatch');
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])('has no mercy for %s', (value) => {
    const answer = expected.slice();
    answer[3] = value;
    expect(compareRow(answer, expected, BOUNDS).verdict).toBe('mismatch');
  });

  it('grants small rows the spacing of small halves, and nothing more', () => {
    const tiny = scaled(expected, 1e-6);
    expect(
      compareRow(
        tiny.map((value) => value + 2 ** -25),
        tiny,
        BOUNDS,
      ).verdict,
    ).toBe('match');
    expect(
      compareRow(
        tiny.map((value) => value + 2 ** -20),
        tiny,
        BOUNDS,
      ).verdict,
    ).toBe('mismatch');
    expect(compareRow(new Float32Array(HIDDEN), new Float32Array(HIDDEN), BOUNDS).verdict).toBe('match');
  });

  it('blames nobody for what f16 cannot carry', () => {
    const huge = scaled(expected, 1e6);
    expect(compareRow(huge.fill(65_504), scaled(expected, 1e6), BOUNDS).verdict).toBe('incomparable');
  });
});

describe('comparing a row that came as int8', () => {
  const INT8 = { maxRelativeL2: 1.1e-3, maxNormDeviation: 6e-4, rowFormat: 'int8' } as const;
  const WIDTH = 192;
  const rng = createRng(7);
  const sent = (row: Float32Array) => decodeF16(roundRows('int8', row, WIDTH));
  const normal = (scale: number) => Float32Array.from({ length: WIDTH }, () => scale * normalDraw(rng));
  const plus = (row: Float32Array, other: Float32Array) => row.map((value, i) => value + other[i]!);

  it('passes what rounding makes of honest rows of every size, and of rows that f32 or 16-bit inputs have moved a little', () => {
    for (let i = 0; i < 2000; i++) {
      const size = 10 ** (5 * rng() - 3);
      const expected = normal(size);
      expect(compareRow(sent(expected), expected, INT8).verdict).toBe('match');
      // What inputs rounded to 16 bits were seen to do, and a few times that.
      const computed = plus(expected, normal(4e-4 * size));
      expect(compareRow(sent(computed), expected, INT8).verdict).toBe('match');
    }
  });

  it('sees through the rounding what is wrong by as much as it, in every row', () => {
    for (let i = 0; i < 500; i++) {
      const expected = normal(1);
      // 9e-3: int8 weights in place of better ones; 1.01: the smallest scale of issue 3.
      expect(compareRow(sent(plus(expected, normal(9e-3))), expected, INT8).verdict).toBe('mismatch');
      expect(compareRow(sent(scaled(expected, 1.01)), expected, INT8).verdict).toBe('mismatch');
    }
  });

  it('grants a coarser scale than the rows need to nobody', () => {
    const expected = normal(1);
    // As if the largest of each block were four times as large.
    const coarse = expected.map((value) => Math.round(value * 12) / 12);
    expect(compareRow(coarse, expected, INT8).verdict).toBe('mismatch');
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY])('has no mercy for %s', (value) => {
    const expected = normal(1);
    const answer = sent(expected);
    answer[3] = value;
    expect(compareRow(answer, expected, INT8).verdict).toBe('mismatch');
  });
});

describe('bounds', () => {
  it('are those measured for the model, a few times over, and cautious for any other', () => {
    expect(calibration.models.map((model) => model.modelId)).toContain('tiny-stories');
    for (const { modelDigest, backends } of calibration.models) {
      for (const backend of ['reference', 'webgpu'] as const) {
        const { maxRelativeL2, maxNormDeviation } = boundsFor(modelDigest, backend);
        expect(maxRelativeL2).toBeGreaterThan(3 * backends[backend]!.relativeL2.max);
        // More than rounding to f16 alone can ever do; less than a fifth of the smallest lie of issue 3.
        // What int8 on the wire does not explain is less than what f16 does.
        expect(backends[backend]!.int8!.relativeL2.max).toBeLessThan(maxRelativeL2 / MARGIN);
        expect(backends[backend]!.int8!.normDeviation.max).toBeLessThan(maxNormDeviation / MARGIN);
        for (const bound of [maxRelativeL2, maxNormDeviation]) {
          expect(bound).toBeGreaterThan(2 ** -11);
          expect(bound).toBeLessThan(2e-3);
        }
      }
    }
    expect(boundsFor('of no model', 'webgpu')).toBe(uncalibrated('f16'));
  });

  it('go by what computes', () => {
    expect(backendOf({ architecture: 'reference' })).toBe('reference');
    expect(backendOf({ architecture: 'ampere' })).toBe('webgpu');
  });
});

describe('adaptive replication', () => {
  it('checks everything at first, then ever less, never nothing', () => {
    expect(auditShare(0)).toBe(1);
    expect(auditShare(PROBATION_ROWS)).toBe(1);
    expect(auditShare(10 * PROBATION_ROWS)).toBeCloseTo(0.1);
    expect(auditShare(1e9)).toBe(MIN_AUDIT_SHARE);
  });

  it('draws one row of each window, any of them, and leaves no gap longer than two windows', () => {
    const draw = new RowDraw(drawFrom(5));
    const places = Array.from({ length: 50 }, () => 0);
    let last = -1;
    for (let i = 0; i < 100_000; i++) {
      if (!draw.next(MIN_AUDIT_SHARE)) continue;
      expect(i - last).toBeLessThanOrEqual(99);
      last = i;
      places[i % 50]!++;
    }
    expect(places.reduce((sum, n) => sum + n, 0)).toBe(2000);
    // 40 each; six standard deviations.
    for (const n of places) expect(Math.abs(n - 40)).toBeLessThan(6 * Math.sqrt(40));
  });

  it('puts off an audit that there is no room for, and counts it', () => {
    const trust = trusted();
    const row = usedRow([0], [1]);
    expect([trust.use(row, false), trust.use(row, false), trust.use(row, true)]).toEqual([false, false, true]);
    expect(trust.putOff).toBe(2);
  });
});

describe('what the audits cover', () => {
  it('leaves no expert out for more than its 500 uses, for hardly any audits more', () => {
    const rng = createRng(17);
    const trust = trusted();
    trust.record.consecutiveRight = 1e6;
    const [experts, topK, rows] = [64, 6, 200_000];
    const uses = new Int32Array(experts);
    let longest = 0;
    let audits = 0;
    for (let i = 0; i < rows; i++) {
      // Busy and idle ones: the last is asked for hundreds of times more rarely than the first.
      const chosen = new Set<number>();
      while (chosen.size < topK) chosen.add(Math.floor(experts * rng() ** 4));
      const audited = trust.use(usedRow([...chosen], Array(topK).fill(1 / topK)), true);
      if (audited) audits++;
      for (const expert of chosen) {
        longest = Math.max(longest, ++uses[expert]!);
        if (audited) uses[expert] = 0;
      }
    }
    expect(longest).toBeLessThanOrEqual(MAX_UNAUDITED_USES);
    expect(audits / rows).toBeGreaterThanOrEqual(MIN_AUDIT_SHARE);
    expect(audits / rows).toBeLessThan(1.05 * MIN_AUDIT_SHARE);
  });

  it('audits each of the later uses about equally often, and from the first visit on any use', () => {
    const coverage = new ExpertCoverage(drawFrom(23));
    const first: number[] = [];
    for (let expert = 0; expert < 1000; expert++) {
      const row = usedRow([expert], [1]);
      let uses = 1;
      while (!coverage.use(row)) uses++;
      first.push(uses);
      coverage.audited(row);
      let later = 1;
      while (!coverage.use(row)) later++;
      expect(later).toBeGreaterThan(MAX_UNAUDITED_USES / 2);
      expect(later).toBeLessThanOrEqual(MAX_UNAUDITED_USES);
    }
    expect(Math.min(...first)).toBeLessThan(10);
    expect(Math.max(...first)).toBeGreaterThan(MAX_UNAUDITED_USES - 10);
  });

  it('counts no row for an expert that hardly shows in it', () => {
    // Every first use is due, and no later one before its 251st.
    const coverage = new ExpertCoverage(() => 0);
    const faint = usedRow([1, 2], [0.97, 0.03]);
    expect(coverage.use(faint)).toBe(true);
    coverage.audited(faint);
    expect(coverage.use(faint)).toBe(false);
    expect(coverage.use(usedRow([1, 2], [0.5, 0.5]))).toBe(true);
  });
});

describe('the quarantine', () => {
  const liar = { donorId: 'd1', address: '192.0.2.1' };

  it('keeps a donor out for an hour, longer each time, and forgets', () => {
    let nowMs = 1e12;
    const quarantine = new Quarantine(() => nowMs);
    expect(quarantine.until(liar)).toBeUndefined();
    expect(quarantine.add(liar)).toBe(nowMs + DONOR_BASE_MS);
    expect(quarantine.until(liar)).toBe(nowMs + DONOR_BASE_MS);
    nowMs += DONOR_BASE_MS + 1;
    expect(quarantine.until(liar)).toBeUndefined();
    expect(quarantine.add(liar) - nowMs).toBeGreaterThan(3 * DONOR_BASE_MS);
    nowMs += 12 * FAILURE_FADES_MS;
    expect(quarantine.add(liar) - nowMs).toBeCloseTo(DONOR_BASE_MS, -3);
  });

  it('lets a household off until the third failure', () => {
    const quarantine = new Quarantine(() => 1e12);
    const neighbour = { donorId: 'honest', address: liar.address };
    quarantine.add(liar);
    quarantine.add({ ...liar, donorId: 'd2' });
    expect(quarantine.until(neighbour)).toBeUndefined();
    quarantine.add({ ...liar, donorId: 'd3' });
    expect(quarantine.until(neighbour)! - 1e12).toBeGreaterThanOrEqual(ADDRESS_BASE_MS);
    expect(quarantine.size).toBe(4);
    expect(quarantine.total).toBe(3);
  });

  it('lets who did no harm try again, twice', () => {
    const quarantine = new Quarantine(() => 1e12);
    quarantine.add(liar, true);
    quarantine.add(liar, true);
    expect(quarantine.until(liar)).toBeUndefined();
    expect(quarantine.total).toBe(0);
    quarantine.add(liar, true);
    expect(quarantine.until(liar)).toBeGreaterThan(1e12);
    expect(quarantine.total).toBe(1);
  });

  it('does not shut out a reverse proxy', () => {
    const quarantine = new Quarantine(() => 1e12);
    for (let i = 0; i < 9; i++) quarantine.add({ donorId: `d${i}`, address: '127.0.0.1' });
    expect(quarantine.until({ donorId: 'other', address: '127.0.0.1' })).toBeUndefined();
    expect(quarantine.until({ donorId: 'd3', address: '127.0.0.1' })).toBeDefined();
  });

  it('remembers no more than it is meant to', () => {
    const quarantine = new Quarantine(() => 1e12);
    for (let i = 0; i < 30_000; i++) quarantine.add({ donorId: `d${i}`, address: '127.0.0.1' });
    expect(quarantine.size).toBe(20_000);
  });
});

describe('limits of norms', () => {
  it('hold for every row and expert, and not for the absurd', () => {
    const rng = createRng(9);
    const weights = {
      gate: randoms(HIDDEN * WIDTH, rng),
      up: randoms(HIDDEN * WIDTH, rng),
      down: randoms(HIDDEN * WIDTH, rng),
    };
    const norms = new NormLimits();
    norms.learn(1, 0, weights);
    for (let i = 0; i < 200; i++) {
      const x = randoms(HIDDEN, rng, 4);
      const request = lap(encodeF16(x), [0], [0.7]);
      const y = scaled(swigluExpert(x, weights, 1, HIDDEN), 0.7);
      expect(norms.absurdRow(request, encodeF16(y))).toBeUndefined();
      expect(norms.absurdRow(request, new Uint16Array(HIDDEN).fill(0x7bff))).toBe(0);
    }
    // Of an expert that it knows nothing of, it says nothing.
    expect(
      norms.absurdRow(lap(new Uint16Array(HIDDEN).fill(0x3c00), [1], [1]), new Uint16Array(HIDDEN).fill(0x7bff)),
    ).toBeUndefined();
  });
});

describe('shadow rows', () => {
  it('come from recent traffic, cut to what the peer holds, and else are made like it', () => {
    let nowMs = 0;
    const gain = new Float32Array(HIDDEN).fill(3);
    const rows = new ProbationRows({ normGain: () => gain, numExpertsPerTok: 2, draw: drawFrom(1), now: () => nowMs });
    const rng = createRng(2);
    const made = rows.next(1, new Set([4, 5, 6]), rng);
    expect(new Set(made.experts).size).toBe(2);
    expect(made.weights.reduce((a, b) => a + b, 0)).toBeCloseTo(1);
    const seen = encodeF16(new Float32Array(HIDDEN).fill(0.25));
    rows.note(1, seen, 1, Uint16Array.of(5, 9), Float32Array.of(0.6, 0.4));
    expect(rows.next(1, new Set([4, 5, 6]), rng)).toEqual({ row: seen, experts: [5], weights: [Math.fround(0.6)] });
    // None of it went to these experts.
    expect(rows.next(1, new Set([4]), rng).row).not.toEqual(seen);
    nowMs = 61_000;
    expect(rows.next(1, new Set([5]), rng).row).not.toEqual(seen);
  });
});

describe('the auditor', () => {
  const row = new Uint16Array(HIDDEN).fill(0x3c00);
  const truth = async (request: WorkItem) => new Float32Array(request.numRows * HIDDEN).fill(2);
  const right = encodeF16(new Float32Array(HIDDEN).fill(2));
  const wrong = encodeF16(new Float32Array(HIDDEN).fill(2.02));

  function auditing(compute = truth, recompute = truth, busyMs = () => 0) {
    const condemned: AuditedPeer[] = [];
    const errors: unknown[] = [];
    const pauses: number[] = [];
    const auditor = new Auditor({
      judge: new Judge({ compute, recompute }),
      busyMs,
      onWrong: (peer) => condemned.push(peer),
      onError: (error) => errors.push(error),
      pause: async (ms) => {
        pauses.push(ms);
        await new Promise(setImmediate);
      },
    });
    const settle = async () => {
      while (auditor.pending > 0) await new Promise(setImmediate);
      await new Promise(setImmediate);
      await new Promise(setImmediate);
    };
    return { auditor, condemned, errors, pauses, settle };
  }

  it('finds a wrong row, once, and says how many rows nobody had looked at', async () => {
    const { auditor, condemned, settle } = auditing();
    const peer = { peerId: 'tab-1', trust: trusted() };
    auditor.observe(peer, lap(row, [0], [1]), right);
    await settle();
    expect(peer.trust.lastGoodRow).toBe(1);
    // At the lowest share, one or two of these are looked at.
    peer.trust.record.consecutiveRight = 1e6;
    for (let i = 0; i < 99; i++) auditor.observe(peer, lap(row, [0], [1]), wrong);
    await settle();
    expect(condemned).toEqual([peer]);
    expect(peer.trust).toMatchObject({ phase: 'quarantined', failures: 1, usedRows: 100, uncheckedRows: 98 });
    expect(peer.trust.auditShare).toBe(1);
    expect(auditor.counts.wrong).toBe(1);
  });

  it('doubts itself first', async () => {
    const spoilt = async () => new Float32Array(HIDDEN).fill(7);
    const { auditor, condemned, settle } = auditing(spoilt);
    const peer = { peerId: 'tab-1', trust: trusted() };
    auditor.observe(peer, lap(row, [0], [1]), right);
    await settle();
    expect(condemned).toEqual([]);
    expect(auditor.counts).toEqual({ right: 1, wrong: 0, incomparable: 0, putOff: 0 });
  });

  it('blames no peer for weights that it cannot read itself', async () => {
    const { auditor, condemned, errors, settle } = auditing(() => Promise.reject(new Error('disk')));
    const peer = { peerId: 'tab-1', trust: trusted() };
    auditor.observe(peer, lap(row, [0], [1]), wrong);
    await settle();
    expect({ condemned, errors: errors.length, phase: peer.trust.phase }).toEqual({
      condemned: [],
      errors: 1,
      phase: 'trusted',
    });
  });

  it('keeps its queue and its time within bounds, and gives every peer its turn', async () => {
    let busyMs = 0;
    const order: number[] = [];
    const slow = async (request: WorkItem) => {
      busyMs += 2;
      order.push(request.layer);
      return truth(request);
    };
    const { auditor, pauses, settle } = auditing(slow, truth, () => busyMs);
    for (const layer of [1, 2, 3]) {
      const peer = { peerId: `tab-${layer}`, trust: trusted() };
      for (let i = 0; i < 100; i++) auditor.observe(peer, { ...lap(row, [0], [1]), layer }, right);
    }
    expect(auditor.pending).toBe(48);
    await settle();
    expect(order.slice(0, 6)).toEqual([1, 2, 3, 1, 2, 3]);
    // A tenth of the time: nine times as long a rest.
    expect(pauses.slice(1).every((ms) => Math.abs(ms - 18) < 1e-9)).toBe(true);
  });
});

function trusted(): PeerTrust {
  const trust = new PeerTrust({ consecutiveRight: 0, verifiedRows: 0 }, BOUNDS, drawFrom(3));
  trust.phase = 'trusted';
  return trust;
}

function lap(rows: Uint16Array, experts: number[], weights: number[]): WorkItem {
  return uniformWorkItem({
    layer: 1,
    rows,
    numRows: 1,
    experts: Uint16Array.from(experts),
    weights: Float32Array.from(weights),
  });
}
