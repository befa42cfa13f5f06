import { createReferenceBackend, createWebGpuBackend, type ExpertBackend, type ExpertShape } from '@shoal/kernels';
import { createWasmBackend } from '@shoal/kernels/node';
import { createRng, decodeF16, encodeF16, normalDraw, type Rng } from '@shoal/model';
import { packExpert, QUANTS, unpackExpert } from '@shoal/weights';
import type { LapRequest } from '../../coordinator/src/dispatch/lap.ts';
import { ReferenceWork } from '../../coordinator/src/dispatch/testing/reference-work.ts';
import { boundsFor, calibration } from '../../coordinator/src/trust/bounds.ts';
import { Judge } from '../../coordinator/src/trust/judge.ts';
import { NormLimits } from '../../coordinator/src/trust/norm-limits.ts';
import { dawnAdapter } from '../contract/dawn.ts';

const HIDDEN_SIZE = 12;
/**
 * Small, for a million rows; not smaller, since where the gates of all of a row's activations are closed (far below 0, one in
 * 2¹² rows with 6 of them in each of two experts) rounding a large row to int16, as q8 and q4 do (docs/adr/0014), goes through
 * an exponential.
 */
const INTERMEDIATE_SIZE = 16;
const EXPERTS = 8;
const TOP_K = 2;
const ROWS_PER_LAP = 500;
/** A million over all formats, in whole laps. */
const AUDITS_PER_FORMAT = Math.ceil(1_000_000 / QUANTS.length / ROWS_PER_LAP) * ROWS_PER_LAP;
export const REAL_AUDITS = AUDITS_PER_FORMAT * QUANTS.length;

const isFinite16 = (half: number): boolean => (half & 0x7c00) !== 0x7c00;

/** An expert whose outputs have about the size of its inputs. */
function shardOf(shape: ExpertShape, rng: Rng): Uint8Array {
  const { hiddenSize: D, moeIntermediateSize: F } = shape;
  const matrix = (columns: number): Float32Array =>
    Float32Array.from({ length: D * F }, () => normalDraw(rng) / Math.sqrt(columns));
  return packExpert(shape, { gate: matrix(D), up: matrix(D), down: matrix(F) });
}

function lapOf(shape: ExpertShape, rng: Rng): LapRequest {
  const experts = Array.from({ length: ROWS_PER_LAP }, () => {
    const first = Math.floor(rng() * EXPERTS);
    return [first, (first + 1 + Math.floor(rng() * (EXPERTS - 1))) % EXPERTS];
  }).flat();
  // Sizes from a hundredth to a hundred times the usual.
  const rows = Array.from({ length: ROWS_PER_LAP }, () => {
    const size = 10 ** (4 * rng() - 2);
    return Array.from({ length: shape.hiddenSize }, () => size * normalDraw(rng));
  }).flat();
  return {
    layer: 1,
    rows: encodeF16(Float32Array.from(rows)),
    numRows: ROWS_PER_LAP,
    rowEnd: Uint16Array.from({ length: ROWS_PER_LAP }, (_, row) => (row + 1) * TOP_K),
    experts: Uint16Array.from(experts),
    weights: Float32Array.from(experts, () => 0.01 + rng()),
  };
}

/** The coordinator, and the honest tabs of every backend that there is here, with the same experts. */
async function network(quant: ExpertShape['quant'], rng: Rng) {
  const shape: ExpertShape = { hiddenSize: HIDDEN_SIZE, moeIntermediateSize: INTERMEDIATE_SIZE, quant };
  const shards = Array.from({ length: EXPERTS }, () => shardOf(shape, rng));
  const norms = new NormLimits();
  const read = async (layer: number, expert: number) => {
    const weights = unpackExpert(shape, shards[expert]!);
    norms.learn(layer, expert, weights);
    return weights;
  };
  const local = new ReferenceWork({ hiddenSize: shape.hiddenSize, maxBytes: 2 ** 20, read });
  const compute = (lap: LapRequest): Promise<Float32Array> => local.compute(lap);
  const backends: ExpertBackend[] = [
    createReferenceBackend(shape),
    await createWasmBackend({ shape, threads: 1 }),
    await createWebGpuBackend({ gpu: await dawnAdapter(), shape }).then(({ backend }) => backend),
  ];
  for (const backend of backends) {
    for (const [expert, shard] of shards.entries()) await backend.load(1, expert, shard);
  }
  return { shape, norms, backends, judge: new Judge({ compute, recompute: compute }) };
}

export interface HonestAudits {
  right: number;
  wrong: number;
  incomparable: number;
  /** Rows that seemed wrong and were right at the second look. */
  retracted: number;
  /** Laps with a row that no honest computation should give. */
  absurd: number;
}

/** REAL_AUDITS audits of honest tabs of every backend and format, against the tightest bounds that are in use. */
export async function auditHonestTabs(): Promise<HonestAudits> {
  const rng = createRng(11);
  const bounds = calibration.models.map(({ modelDigest }) => boundsFor(modelDigest, 'webgpu'));
  const tightest = {
    maxRelativeL2: Math.min(...bounds.map((bound) => bound.maxRelativeL2)),
    maxNormDeviation: Math.min(...bounds.map((bound) => bound.maxNormDeviation)),
    rowFormat: 'f16' as const,
  };
  const counts: HonestAudits = { right: 0, wrong: 0, incomparable: 0, retracted: 0, absurd: 0 };
  for (const quant of QUANTS) {
    const { shape, norms, backends, judge } = await network(quant, rng);
    for (let done = 0; done < AUDITS_PER_FORMAT; done += ROWS_PER_LAP) {
      const lap = lapOf(shape, rng);
      const backend = backends[(done / ROWS_PER_LAP) % backends.length]!;
      const partial = encodeF16((await backend.run(lap)).partial);
      for (const verdict of await judge.rows(lap, decodeF16(partial), tightest)) counts[verdict]++;
      // What overflowed on its way to f16 would not have left the tab.
      if (partial.every(isFinite16) && norms.absurdRow(lap, partial) !== undefined) counts.absurd++;
    }
    for (const backend of backends) backend.destroy();
    counts.retracted += judge.retracted;
  }
  return counts;
}
