import { createReferenceBackend, createWebGpuBackend, type ExpertBackend, type ExpertShape } from '@shoal/kernels';
import { createWasmBackend } from '@shoal/kernels/node';
import { createRng, expertNorms, normalDraw, readRows, type Rng, type WorkItem, uniformWorkItem } from '@shoal/model';
import { itemRows, roundedRows, type RowFormat } from '@shoal/protocol';
import { packExpert, QUANTS, unpackExpert } from '@shoal/weights';
import { ReferenceWork } from '../../coordinator/src/laps/testing/reference-work.ts';
import { boundsFor, calibration } from '../../coordinator/src/trust/bounds.ts';
import { Judge } from '../../coordinator/src/trust/judge.ts';
import { NormLimits } from '../../coordinator/src/trust/norm-limits.ts';
import { dawnAdapter } from '../contract/dawn.ts';

const HIDDEN_SIZE = 12;
/**
 * Small, for a million rows, but no smaller: where the gates of all a row's activations are closed (far below 0, one in
 * 2¹² rows with 6 of them in each of two experts), the error of rounding a large row to int16, as q8 and q4 do
 * (docs/adr/0014), goes through an exponential.
 */
const INTERMEDIATE_SIZE = 16;
const EXPERTS = 8;
const ROWS_PER_LAP = 500;

/** An expert whose outputs have about the size of its inputs. */
function shardOf(shape: ExpertShape, rng: Rng): Uint8Array {
  const { hiddenSize: D, moeIntermediateSize: F } = shape;
  const matrix = (columns: number): Float32Array =>
    Float32Array.from({ length: D * F }, () => normalDraw(rng) / Math.sqrt(columns));
  return packExpert(shape, { gate: matrix(D), up: matrix(D), down: matrix(F) });
}

function lapOf(shape: ExpertShape, rowFormat: RowFormat, rng: Rng): WorkItem {
  const experts = Array.from({ length: ROWS_PER_LAP }, () => {
    const first = Math.floor(rng() * EXPERTS);
    return [first, (first + 1 + Math.floor(rng() * (EXPERTS - 1))) % EXPERTS];
  }).flat();
  // Sizes from a hundredth to a hundred times the usual.
  const rows = Array.from({ length: ROWS_PER_LAP }, () => {
    const size = 10 ** (4 * rng() - 2);
    return Array.from({ length: shape.hiddenSize }, () => size * normalDraw(rng));
  }).flat();
  return uniformWorkItem({
    layer: 1,
    ...itemRows(rowFormat, Float32Array.from(rows), shape.hiddenSize),
    numRows: ROWS_PER_LAP,
    experts: Uint16Array.from(experts),
    weights: Float32Array.from(experts, () => 0.01 + rng()),
  });
}

/** The coordinator and honest tabs of every available backend, with the same experts. */
async function network(quant: ExpertShape['quant'], rng: Rng) {
  const shape: ExpertShape = { hiddenSize: HIDDEN_SIZE, moeIntermediateSize: INTERMEDIATE_SIZE, quant };
  const shards = Array.from({ length: EXPERTS }, () => shardOf(shape, rng));
  const norms = new NormLimits();
  const read = async (layer: number, expert: number) => {
    const weights = unpackExpert(shape, shards[expert]!);
    norms.learn(layer, expert, 'swiglu', expertNorms(weights));
    return weights;
  };
  const local = new ReferenceWork({ hiddenSize: shape.hiddenSize, maxBytes: 2 ** 20, read });
  const compute = (lap: WorkItem): Promise<Float32Array> => local.compute(lap);
  const backends: ExpertBackend[] = [
    createReferenceBackend(shape),
    await createWasmBackend({ shape, threads: 1 }),
    await createWebGpuBackend({ gpu: await dawnAdapter(), shape }).then(({ backend }) => backend),
  ];
  for (const backend of backends) {
    for (const [expert, shard] of shards.entries()) await backend.load(1, expert, shard);
  }
  return { shape, norms, backends, compute };
}

export interface HonestAudits {
  /** Rows audited, in whole laps: at least the requested number. */
  audits: number;
  right: number;
  wrong: number;
  incomparable: number;
  /** Rows that seemed wrong and proved right when recomputed. */
  retracted: number;
  /** Laps with a row that no honest computation should give. */
  absurd: number;
}

/**
 * Audits at least this many rows of honest tabs over every backend and expert format with the tightest bounds in use.
 * Row formats share the backends, because compiling one takes longer than thousands of audits.
 */
export async function auditHonestTabs(audits: Record<RowFormat, number>): Promise<Record<RowFormat, HonestAudits>> {
  const rng = createRng(11);
  const counts = { f16: noAudits(), int8: noAudits() };
  for (const quant of QUANTS) {
    const honest = await network(quant, rng);
    for (const rowFormat of ['f16', 'int8'] as const) {
      const laps = Math.ceil(audits[rowFormat] / QUANTS.length / ROWS_PER_LAP);
      await auditLaps(honest, rowFormat, laps, rng, counts[rowFormat]);
    }
    for (const backend of honest.backends) backend.destroy();
  }
  return counts;
}

const noAudits = (): HonestAudits => ({ audits: 0, right: 0, wrong: 0, incomparable: 0, retracted: 0, absurd: 0 });

async function auditLaps(
  { shape, norms, backends, compute }: Awaited<ReturnType<typeof network>>,
  rowFormat: RowFormat,
  laps: number,
  rng: Rng,
  counts: HonestAudits,
): Promise<void> {
  const bounds = tightestBounds(rowFormat);
  const judge = new Judge({ compute, recompute: compute });
  for (let done = 0; done < laps; done++) {
    const lap = lapOf(shape, rowFormat, rng);
    // Rounded as in frames, after earlier rounding.
    const rows = itemRows(rowFormat, readRows(lap, shape.hiddenSize), shape.hiddenSize);
    const { partial: sums } = await backends[done % backends.length]!.run({ ...lap, ...rows });
    const partial = roundedRows(rowFormat, sums, shape.hiddenSize);
    for (const verdict of await judge.rows(lap, partial, bounds)) counts[verdict]++;
    if (norms.absurdRow(lap, partial) !== undefined) counts.absurd++;
    counts.audits += ROWS_PER_LAP;
  }
  counts.retracted += judge.retracted;
}

function tightestBounds(rowFormat: RowFormat) {
  const bounds = calibration.models.map(({ modelDigest }) => boundsFor(modelDigest, 'webgpu', rowFormat));
  return {
    maxRelativeL2: Math.min(...bounds.map((bound) => bound.maxRelativeL2)),
    maxNormDeviation: Math.min(...bounds.map((bound) => bound.maxNormDeviation)),
    rowFormat,
  };
}
