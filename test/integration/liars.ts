import {
  createRng,
  expertNorms,
  normalDraw,
  type Rng,
  type SwigluWeights,
  type WorkItem,
  uniformWorkItem,
} from '@shoal/model';
import {
  combineLayouts,
  decodeCombine,
  encodeCombine,
  FrameError,
  itemRows,
  roundedRows,
  type RowFormat,
} from '@shoal/protocol';
import type { LapAnswer } from '../../coordinator/src/laps/lap.ts';
import { ReferenceWork } from '../../coordinator/src/laps/testing/reference-work.ts';
import { knownAnswerTest } from '../../coordinator/src/swarm/known-answer-test.ts';
import { MIN_AUDIT_SHARE, PROBATION_ROWS } from '../../coordinator/src/trust/audit-share.ts';
import { Auditor } from '../../coordinator/src/trust/auditor.ts';
import { type Bounds, compareRow } from '../../coordinator/src/trust/compare.ts';
import { Judge } from '../../coordinator/src/trust/judge.ts';
import { NormLimits } from '../../coordinator/src/trust/norm-limits.ts';
import { PeerTrust } from '../../coordinator/src/trust/peer-trust.ts';
import { runProbation } from '../../coordinator/src/trust/probation.ts';
import { ProbationRows } from '../../coordinator/src/trust/probation-rows.ts';

/** Small enough for thousands of runs; the decisions are those of the coordinator, over real frames. */
const [HIDDEN, WIDTH, EXPERTS, TOP_K] = [16, 8, 8, 2];
const LAYERS = [1, 2];
const boundsOf = (rowFormat: RowFormat) => ({ maxRelativeL2: 1.3e-3, maxNormDeviation: 7e-4, rowFormat });
export const RUNS = 100;
/** A liar must be caught before it has changed this many rows of answers. */
export const MAX_ROWS = 500;
/** After these the audited share is at its floor. */
const HONEST_ROWS = 80_000;
/** Runs that play all these rows. The others start with the resulting record and play only what the draws remember. */
const WHOLE_PASTS = 5;
/** 500 uses of each of 16 experts, two in a row. */
const REMEMBERED_ROWS = 4_000;

type Lie = (lap: {
  request: WorkItem;
  honest: Float32Array;
  last: Float32Array;
  rng: Rng;
}) => Float32Array | Promise<Float32Array>;

const random = (length: number, rng: Rng): Float32Array => Float32Array.from({ length }, () => (rng() - 0.5) * 2);

/** A model of its own for each seed: `expert` maps (layer, expert) to the weights that are really used. */
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
    norms.learn(layer, e, 'swiglu', expertNorms(found));
    return found;
  };
  return { work: new ReferenceWork({ hiddenSize: HIDDEN, maxBytes: 2 ** 20, read }), norms };
}

const scaleBy =
  (factor: number): Lie =>
  ({ honest }) =>
    honest.map((value) => value * factor);

/** The kinds of lie of issue 3; the eighth, right until trusted, is another `Begin`. */
function lies(seed: number): Record<string, Lie> {
  const swapped = model(seed, (layer, e) => [layer, layer === 1 && e < 2 ? 1 - e : e]).work;
  const another = model(seed + 7777).work;
  return {
    'scaled by 1.01': scaleBy(1.01),
    'one expert swapped': ({ request }) => swapped.compute(request),
    'noise of 1e-2': ({ honest, rng }) => {
      const noise = honest.map(() => normalDraw(rng));
      return honest.map((value, i) => value + (0.01 * norm(honest) * noise[i]!) / norm(noise));
    },
    'stale answer': ({ honest, last }) => honest.map((_, i) => last[i % last.length]!),
    NaN: ({ honest }) => honest.slice().fill(Number.NaN),
    zeros: ({ honest }) => honest.slice().fill(0),
    "another's weights": ({ request }) => another.compute(request),
  };
}

const norm = (values: Float32Array): number => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));

export const LIAR_KINDS: readonly string[] = Object.keys(lies(0));

export type Begin = 'from the start' | 'once it serves' | 'at the lowest share';

/** What caught it, and the rows used in answers by then: those that the lie changed, and all since it began. */
export interface Caught {
  caughtBy: string;
  changedRows: number;
  rows: number;
}

/** One liar's life. */
export async function life(kind: string, begin: Begin, seed: number, rowFormat: RowFormat = 'f16'): Promise<Caught> {
  const bounds = boundsOf(rowFormat);
  const truth = model(seed);
  const lie = lies(seed)[kind]!;
  const rng = createRng(seed);
  const draw = (below: number): number => Math.floor(rng() * below);
  const judge = new Judge({ compute: (lap) => truth.work.compute(lap), recompute: (lap) => truth.work.compute(lap) });
  let lying = begin === 'from the start';
  let last = random(HIDDEN, rng);
  let changedRows = 0;
  const laps = {
    async ask(request: WorkItem): Promise<LapAnswer> {
      const honest = await truth.work.compute(request);
      const said = lying ? await lie({ request, honest, last, rng }) : honest;
      last = honest.slice(-HIDDEN);
      changedRows += rowsApart(said, honest, bounds);
      return {
        partial: overTheWire(request, said, rowFormat),
        timing: { lapMs: 1, queueMs: 0, computeMs: 0 },
        sentMs: 0,
      };
    },
  };
  const record = { consecutiveRight: 0, verifiedRows: 0 };
  const trust = new PeerTrust(record, bounds, draw);
  const peer = { peerId: 'tab-1', trust };
  try {
    const refs = LAYERS.flatMap((layer) => Array.from({ length: EXPERTS }, (_, expert) => ({ layer, expert })));
    const test = await knownAnswerTest(laps, judge, refs, HIDDEN, bounds);
    if (test.matched < test.tested) return { caughtBy: 'self-test', changedRows: 0, rows: trust.usedRows };
    const rows = new ProbationRows({ normGain: () => new Float32Array(HIDDEN).fill(1), numExpertsPerTok: TOP_K, draw });
    const held = new Map(LAYERS.map((layer) => [layer, new Set(Array(EXPERTS).keys())]));
    const passed = await runProbation(trust, { laps, judge, rows, held, rng });
    if (!passed) return { caughtBy: 'probation', changedRows: 0, rows: 0 };
    if (begin === 'at the lowest share') honestPast(trust, seed <= WHOLE_PASTS, rng);
    lying = true;
    changedRows = 0;
    const before = trust.usedRows;
    const caughtBy = await serve(peer, laps, judge, truth.norms, {
      rng,
      rowFormat,
      over: () => changedRows >= MAX_ROWS,
    });
    return { caughtBy, changedRows, rows: trust.usedRows - before };
  } catch (error) {
    if (!(error instanceof FrameError)) throw error;
    return { caughtBy: 'frame', changedRows: 0, rows: 0 };
  }
}

/** Number of rows further from the truth than an audit allows. Both arrays are [numRows, HIDDEN]. */
function rowsApart(said: Float32Array, honest: Float32Array, bounds: Bounds): number {
  let apart = 0;
  for (let at = 0; at < honest.length; at += HIDDEN) {
    const [a, b] = [said.subarray(at, at + HIDDEN), honest.subarray(at, at + HIDDEN)];
    if (compareRow(roundedRows(bounds.rowFormat, a, HIDDEN), b, bounds).verdict === 'mismatch') apart++;
  }
  return apart;
}

/** Plays right rows with their audits until the audited share is at its lowest. */
function honestPast(trust: PeerTrust, whole: boolean, rng: Rng): void {
  if (!whole) trust.record.consecutiveRight = PROBATION_ROWS / MIN_AUDIT_SHARE;
  for (let row = 0; row < (whole ? HONEST_ROWS : REMEMBERED_ROWS); row++) {
    const experts = someExperts(rng);
    const used = { layer: someLayer(rng), experts: Uint16Array.from(experts), weights: Float32Array.of(1, 1) };
    if (trust.use(used, true)) trust.right(trust.usedRows);
  }
  if (trust.auditShare > 1.02 * MIN_AUDIT_SHARE) throw new Error(`the audited share is still ${trust.auditShare}`);
}

/** Runs audited laps until the tab is caught; 'nobody' if it never is. */
async function serve(
  peer: { peerId: string; trust: PeerTrust },
  laps: { ask(request: WorkItem): Promise<LapAnswer> },
  judge: Judge,
  norms: NormLimits,
  { rng, rowFormat, over }: { rng: Rng; rowFormat: RowFormat; over: () => boolean },
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
  while (!over()) {
    const request = someLap(rng, rowFormat);
    const { partial } = await laps.ask(request);
    if (norms.absurdRow(request, partial) !== undefined) return 'norm';
    auditor.observe(peer, request, partial);
    while (auditor.pending > 0) await new Promise(setImmediate);
    await new Promise(setImmediate);
    if (peer.trust.phase === 'quarantined') return 'audit';
  }
  return 'nobody';
}

/** Encodes and decodes an answer; a bad frame throws a FrameError. What the encoder would not write is forced in. */
function overTheWire(request: WorkItem, said: Float32Array, rowFormat: RowFormat): Float32Array {
  const { numRows } = request;
  const header = { lapId: 1, numRows, hiddenSize: HIDDEN, rowFormat, queueUs: 0, computeUs: 0 };
  const isFinite = said.every(Number.isFinite);
  const frame = encodeCombine({ ...header, partial: isFinite ? said : new Float32Array(said.length) });
  // NaN as f16, and as a scale.
  if (!isFinite) frame.fill(0xff, combineLayouts[rowFormat].headerBytes);
  return decodeCombine(frame, { hiddenSize: HIDDEN, numRows, rowFormat }).partial;
}

const someLayer = (rng: Rng): number => LAYERS[Math.floor(rng() * LAYERS.length)]!;

function someExperts(rng: Rng): number[] {
  const first = Math.floor(rng() * EXPERTS);
  return [first, (first + 1 + Math.floor(rng() * (EXPERTS - 1))) % EXPERTS];
}

function someLap(rng: Rng, rowFormat: RowFormat): WorkItem {
  const numRows = 1 + Math.floor(rng() * 8);
  const experts = Array.from({ length: numRows }, () => someExperts(rng)).flat();
  return uniformWorkItem({
    layer: someLayer(rng),
    ...itemRows(
      rowFormat,
      Float32Array.from({ length: numRows * HIDDEN }, () => normalDraw(rng)),
      HIDDEN,
    ),
    numRows,
    experts: Uint16Array.from(experts),
    weights: Float32Array.from(experts, () => 0.1 + rng()),
  });
}

/** The same for an honest tab over MAX_ROWS: what blamed it, and for how many rows. */
export async function honestLife(
  seed: number,
  rowFormat: RowFormat = 'f16',
): Promise<{ caughtBy: string; failures: number }> {
  const truth = model(seed);
  const judge = new Judge({ compute: (lap) => truth.work.compute(lap), recompute: (lap) => truth.work.compute(lap) });
  const rng = createRng(seed);
  const laps = {
    async ask(request: WorkItem): Promise<LapAnswer> {
      const partial = overTheWire(request, await truth.work.compute(request), rowFormat);
      return { partial, timing: { lapMs: 1, queueMs: 0, computeMs: 0 }, sentMs: 0 };
    },
  };
  const record = { consecutiveRight: 0, verifiedRows: 0 };
  const trust = new PeerTrust(record, boundsOf(rowFormat), (below) => Math.floor(rng() * below));
  trust.phase = 'trusted';
  const over = (): boolean => trust.usedRows >= MAX_ROWS;
  const caughtBy = await serve({ peerId: 'tab-1', trust }, laps, judge, truth.norms, { rng, rowFormat, over });
  return { caughtBy, failures: trust.failures };
}
