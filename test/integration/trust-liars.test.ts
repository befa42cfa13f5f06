import { createRng, encodeF16, type Rng, type SwigluWeights } from '@shoal/model';
import { combineLayout, decodeCombine, encodeCombine, FrameError } from '@shoal/protocol';
import { describe, expect, it } from 'vitest';
import type { LapAnswer, LapRequest } from '../../coordinator/src/dispatch/lap-client.ts';
import { ReferenceWork } from '../../coordinator/src/dispatch/testing/reference-work.ts';
import { selfTest } from '../../coordinator/src/swarm/admission.ts';
import { Auditor } from '../../coordinator/src/trust/auditor.ts';
import { Judge } from '../../coordinator/src/trust/judge.ts';
import { NormLimits } from '../../coordinator/src/trust/norm-limits.ts';
import { PeerTrust } from '../../coordinator/src/trust/peer-trust.ts';
import { serveInShadow } from '../../coordinator/src/trust/probation.ts';
import { ShadowRows } from '../../coordinator/src/trust/shadow-rows.ts';

/** Small enough for thousands of runs; the decisions are those of the coordinator, over real frames. */
const [HIDDEN, WIDTH, EXPERTS, TOP_K] = [16, 8, 8, 2];
const LAYERS = [1, 2];
const BOUNDS = { maxRelativeL2: 1.3e-3, maxNormDeviation: 7e-4 };
const RUNS = 100;
const MAX_ROWS = 500;

type Lie = (lap: {
  request: LapRequest;
  honest: Float32Array;
  last: Float32Array;
  rng: Rng;
}) => Float32Array | Promise<Float32Array>;

const random = (length: number, rng: Rng): Float32Array => Float32Array.from({ length }, () => (rng() - 0.5) * 2);
const normal = (rng: Rng): number => Math.sqrt(-2 * Math.log(1 - rng())) * Math.cos(2 * Math.PI * rng());

/** Each with a model of its own: `expert` maps (layer, expert) to the weights that it really computes with. */
function model(seed: number, expert: (layer: number, expert: number) => [number, number] = (l, e) => [l, e]) {
  const weights = new Map<string, SwigluWeights>();
  for (const layer of LAYERS) {
    for (let e = 0; e < EXPERTS; e++) {
      const rng = createRng(seed * 1000 + layer * 100 + e);
      const [gate, up, down] = [0, 1, 2].map(() => random(HIDDEN * WIDTH, rng)) as [
        Float32Array,
        Float32Array,
        Float32Array,
      ];
      weights.set(`${layer}/${e}`, { gate, up, down });
    }
  }
  const norms = new NormLimits();
  const read = async (layer: number, e: number): Promise<SwigluWeights> => {
    const found = weights.get(expert(layer, e).join('/'))!;
    norms.learn(layer, e, found);
    return found;
  };
  return { work: new ReferenceWork({ hiddenSize: HIDDEN, maxBytes: 2 ** 20, read }), norms };
}

const scaleBy =
  (factor: number): Lie =>
  ({ honest }) =>
    honest.map((value) => value * factor);

/** The kinds of issue 3 that lie from whenever they begin; the eighth, right until trusted, is a later beginning. */
function lies(seed: number): Record<string, Lie> {
  const swapped = model(seed, (layer, e) => [layer, layer === 1 && e < 2 ? 1 - e : e]).work;
  const another = model(seed + 7777).work;
  return {
    'scaled by 1.01': scaleBy(1.01),
    'one expert swapped': ({ request }) => swapped.compute(request),
    'noise of 1e-2': ({ honest, rng }) => {
      const noise = honest.map(() => normal(rng));
      return honest.map((value, i) => value + (0.01 * norm(honest) * noise[i]!) / norm(noise));
    },
    'stale answer': ({ honest, last }) => honest.map((_, i) => last[i % last.length]!),
    NaN: ({ honest }) => honest.slice().fill(Number.NaN),
    zeros: ({ honest }) => honest.slice().fill(0),
    "another's weights": ({ request }) => another.compute(request),
  };
}

const norm = (values: Float32Array): number => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));

type Begin = 'from the start' | 'once it serves' | 'at the lowest share';

/** One liar's life; how many rows entered answers before it was caught, and who caught it. */
async function life(kind: string, begin: Begin, seed: number): Promise<{ caughtBy: string; rows: number }> {
  const truth = model(seed);
  const lie = lies(seed)[kind]!;
  const rng = createRng(seed);
  const draw = (below: number): number => Math.floor(rng() * below);
  const judge = new Judge({ compute: (lap) => truth.work.compute(lap), recompute: (lap) => truth.work.compute(lap) });
  let lying = begin === 'from the start';
  let last = random(HIDDEN, rng);
  const laps = {
    async ask(request: LapRequest): Promise<LapAnswer> {
      const honest = await truth.work.compute(request);
      const said = lying ? await lie({ request, honest, last, rng }) : honest;
      last = honest.slice(-HIDDEN);
      return {
        partial: overTheWire(request, encodeF16(said)),
        timing: { lapMs: 1, queueMs: 0, computeMs: 0, rows: 1 },
      };
    },
  };
  const record = { consecutiveRight: 0, verifiedRows: 0 };
  const trust = new PeerTrust(record, BOUNDS, draw);
  const peer = { peerId: 'tab-1', trust };
  try {
    const refs = LAYERS.flatMap((layer) => Array.from({ length: EXPERTS }, (_, expert) => ({ layer, expert })));
    const test = await selfTest(laps, judge, refs, HIDDEN, BOUNDS);
    if (test.matched < test.tested) return { caughtBy: 'self-test', rows: trust.usedRows };
    const rows = new ShadowRows({ normGain: () => new Float32Array(HIDDEN).fill(1), numExpertsPerTok: TOP_K, draw });
    const held = new Map(LAYERS.map((layer) => [layer, new Set(Array(EXPERTS).keys())]));
    if (!(await serveInShadow(trust, { laps, judge, rows, held, rng }))) return { caughtBy: 'probation', rows: 0 };
    if (begin === 'at the lowest share') record.consecutiveRight = 1e6;
    lying = true;
    return { caughtBy: await serve(peer, laps, judge, truth.norms, rng), rows: trust.usedRows };
  } catch (error) {
    if (!(error instanceof FrameError)) throw error;
    return { caughtBy: 'frame', rows: trust.usedRows };
  }
}

/** Laps in earnest until it is caught; 'nobody' after MAX_ROWS. */
async function serve(
  peer: { peerId: string; trust: PeerTrust },
  laps: { ask(request: LapRequest): Promise<LapAnswer> },
  judge: Judge,
  norms: NormLimits,
  rng: Rng,
): Promise<string> {
  const auditor = new Auditor({
    judge,
    busyMs: () => 0,
    onWrong: () => {},
    onError: (error) => {
      throw error;
    },
    pause: () => Promise.resolve(),
  });
  while (peer.trust.usedRows < MAX_ROWS) {
    const request = someLap(rng);
    const { partial } = await laps.ask(request);
    if (norms.absurdRow(request, partial) !== undefined) return 'norm';
    auditor.observe(peer, request, partial);
    while (auditor.pending > 0) await new Promise(setImmediate);
    await new Promise(setImmediate);
    if (peer.trust.phase === 'quarantined') return 'audit';
  }
  return 'nobody';
}

/** What the frame's own checks leave of an answer; they throw a FrameError. */
function overTheWire(request: LapRequest, partial: Uint16Array): Uint16Array {
  const { layer, numRows } = request;
  const zeros = new Uint16Array(partial.length);
  const frame = encodeCombine({
    lapId: 1,
    layer,
    numRows,
    hiddenSize: HIDDEN,
    queueUs: 0,
    computeUs: 0,
    partial: zeros,
  });
  frame.set(new Uint8Array(partial.buffer), combineLayout.headerBytes);
  return decodeCombine(frame, { hiddenSize: HIDDEN, numRows, layer }).partial;
}

function someLap(rng: Rng): LapRequest {
  const numRows = 1 + Math.floor(rng() * 8);
  const experts = Array.from({ length: numRows }, () => {
    const first = Math.floor(rng() * EXPERTS);
    return [first, (first + 1 + Math.floor(rng() * (EXPERTS - 1))) % EXPERTS];
  }).flat();
  return {
    layer: LAYERS[Math.floor(rng() * LAYERS.length)]!,
    rows: encodeF16(Float32Array.from({ length: numRows * HIDDEN }, () => normal(rng))),
    numRows,
    rowEnd: Uint16Array.from({ length: numRows }, (_, row) => (row + 1) * TOP_K),
    experts: Uint16Array.from(experts),
    weights: Float32Array.from(experts, () => 0.1 + rng()),
  };
}

describe(`in ${RUNS} seeded runs`, () => {
  const kinds = Object.keys(lies(0));

  it.each(kinds)('%s: caught before it serves, if it lies from the start', async (kind) => {
    for (let seed = 1; seed <= RUNS; seed++) {
      const { caughtBy, rows } = await life(kind, 'from the start', seed);
      expect({ seed, caughtBy, rows }).toEqual({ seed, caughtBy: kind === 'NaN' ? 'frame' : 'self-test', rows: 0 });
    }
  });

  it.each(kinds)('%s: caught within its first 500 rows, if it is right until it is trusted', async (kind) => {
    let most = 0;
    for (let seed = 1; seed <= RUNS; seed++) {
      const { caughtBy, rows } = await life(kind, 'once it serves', seed);
      expect({ seed, caughtBy }).toEqual({ seed, caughtBy: kind === 'NaN' ? 'frame' : 'audit' });
      most = Math.max(most, rows);
    }
    expect(most).toBeLessThanOrEqual(MAX_ROWS);
  });

  // A swapped expert is in one row of eight here, and ten audits may miss it: it takes longer (docs/adr/0007-audits.md).
  it.each(kinds.filter((kind) => kind !== 'one expert swapped'))(
    '%s: caught within two windows of audits, if it is right until its share is lowest',
    async (kind) => {
      for (let seed = 1; seed <= RUNS; seed++) {
        const { caughtBy, rows } = await life(kind, 'at the lowest share', seed);
        expect({ seed, caughtBy }).toEqual({ seed, caughtBy: kind === 'NaN' ? 'frame' : 'audit' });
        // The last lap is counted whole.
        expect(rows).toBeLessThanOrEqual(99 + 8);
      }
    },
  );

  it('an honest tab goes through all of it', async () => {
    for (let seed = 1; seed <= RUNS; seed++) {
      const truth = model(seed);
      const judge = new Judge({
        compute: (lap) => truth.work.compute(lap),
        recompute: (lap) => truth.work.compute(lap),
      });
      const rng = createRng(seed);
      const laps = {
        async ask(request: LapRequest): Promise<LapAnswer> {
          const partial = overTheWire(request, encodeF16(await truth.work.compute(request)));
          return { partial, timing: { lapMs: 1, queueMs: 0, computeMs: 0, rows: 1 } };
        },
      };
      const trust = new PeerTrust({ consecutiveRight: 0, verifiedRows: 0 }, BOUNDS, (below) =>
        Math.floor(rng() * below),
      );
      trust.phase = 'trusted';
      expect(await serve({ peerId: 'tab-1', trust }, laps, judge, truth.norms, rng)).toBe('nobody');
      expect(trust.failures).toBe(0);
    }
  });
});
