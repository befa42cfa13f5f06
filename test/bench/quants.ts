import { join } from 'node:path';
import { createRng, expertTensors, f16ToF32, f32ToF16, moeLayers, type SwigluWeights } from '@shoal/model';
import { openCheckpoint } from '@shoal/model/node';
import { packExpert, QUANTS, shardBytes, unpackExpert } from '@shoal/weights';
import { perplexities, type Score } from './perplexities.ts';
import { formatTable, median } from './table.ts';

/** Rounds 32 weights to the values that a format can hold. */
type BlockRule = (block: Float32Array) => Float64Array;

const MODEL_DIR = join(import.meta.dirname, '../../models/tiny-stories');
const BLOCK = 32;
/** Dimensions of a V2-Lite expert. */
const HIDDEN = 2048;
const INTERMEDIATE = 1408;

/**
 * Measures the accuracy of each expert format, beside two rejected rules (GGUF's Q4_0 scale, and affine 4-bit blocks of
 * 5 bits a weight), the default model's perplexity in our formats and llama.cpp's, and how fast experts are packed and
 * unpacked.
 */
export async function benchQuants({ repeats, json }: { repeats: number; json: boolean }): Promise<void> {
  const sets = [
    { name: 'tiny-stories', experts: await modelExperts() },
    { name: 'normal', experts: [normalExpert(HIDDEN, INTERMEDIATE)] },
  ];
  const errors = sets.flatMap(({ name, experts }) => errorsOf(name, experts));
  const speeds = QUANTS.map((quant) => speedOf(quant, repeats));
  const scores = await perplexities();
  if (json) {
    process.stdout.write(`${JSON.stringify({ errors, speeds, perplexities: scores }, null, 2)}\n`);
    return;
  }
  const formats = Object.keys(errors[0]!.nmse);
  const errorRows = errors.map(({ name, nmse }) => [name, ...formats.map((format) => nmse[format]!.toExponential(3))]);
  const speedRows = speeds.map(({ quant, packMBps, unpackMBps }) => [
    quant,
    packMBps.toFixed(0),
    unpackMBps.toFixed(0),
  ]);
  process.stdout.write(`NMSE of weights\n${formatTable([['', ...formats], ...errorRows])}\n\n`);
  const cells = ({ perplexity, divergence }: Score): string[] => [perplexity.toFixed(5), divergence.toExponential(2)];
  const scoreRows = scores.formats.map(({ format, ours, theirFormat, theirs }) => [
    format,
    ...cells(ours),
    theirFormat,
    ...cells(theirs),
  ]);
  const head = ['', 'perplexity', 'divergence', 'llama.cpp', 'perplexity', 'divergence'];
  process.stdout.write(
    'The default model with every matrix in the format, held-out text (divergence from float32, nats)\n',
  );
  process.stdout.write(`${formatTable([head, ...scoreRows])}\n\n`);
  const wireRows = scores.wire.map(({ format, rowFormat, score }) => [format, rowFormat, ...cells(score)]);
  process.stdout.write('The same with rows travelling to tabs and back as f16 or int8\n');
  process.stdout.write(`${formatTable([['', 'rows', 'perplexity', 'divergence'], ...wireRows])}\n\n`);
  process.stdout.write('MB/s of float32 weights, one thread\n');
  process.stdout.write(`${formatTable([['', 'pack', 'unpack'], ...speedRows])}\n`);
}

function errorsOf(set: string, experts: readonly SwigluWeights[]): { name: string; nmse: Record<string, number> }[] {
  return (['gate', 'up', 'down'] as const).map((matrix) => ({
    name: `${set} ${matrix}`,
    nmse: {
      ...Object.fromEntries(
        QUANTS.map((quant) => [quant, nmseOf(experts, matrix, (expert) => repacked(expert, quant))]),
      ),
      q4_0: nmseOf(experts, matrix, (expert) => blockwise(expert, q4ZeroRule)),
      'affine (5 bits)': nmseOf(experts, matrix, (expert) => blockwise(expert, affineRule)),
    },
  }));
}

/** Widths are whole blocks in both sets, so a matrix's blocks never cross rows. */
function blockwise({ gate, up, down }: SwigluWeights, rule: BlockRule): SwigluWeights {
  const apply = (source: Float32Array): Float32Array => {
    const target = new Float32Array(source.length);
    for (let at = 0; at < source.length; at += BLOCK) target.set(rule(source.subarray(at, at + BLOCK)), at);
    return target;
  };
  return { gate: apply(gate), up: apply(up), down: apply(down) };
}

function repacked(expert: SwigluWeights, quant: (typeof QUANTS)[number]): SwigluWeights {
  const shape = { ...shapeOf(expert), quant };
  const { gate, up, down } = unpackExpert(shape, packExpert(shape, expert));
  return { gate: gate!, up, down };
}

/** `gate` is [F, D] in both sets; D is 3 F in the default model, otherwise V2-Lite's. */
function shapeOf({ gate }: SwigluWeights): { hiddenSize: number; moeIntermediateSize: number } {
  const isLarge = gate.length === HIDDEN * INTERMEDIATE;
  const hiddenSize = isLarge ? HIDDEN : Math.sqrt(gate.length * 3);
  return { hiddenSize, moeIntermediateSize: gate.length / hiddenSize };
}

/** GGUF's Q4_0: scale = largest / −8, as f16; codes are rounded with the unrounded scale. */
const q4ZeroRule: BlockRule = (block) => {
  const largest = block.reduce((best, weight) => (Math.abs(weight) > Math.abs(best) ? weight : best), 0);
  const scale = largest / -8;
  const rounded = f16ToF32(f32ToF16(scale));
  const inverse = scale === 0 ? 0 : 1 / scale;
  return Float64Array.from(block, (weight) => (Math.min(15, Math.floor(weight * inverse + 8.5)) - 8) * rounded);
};

/** GGUF's Q4_1 (f16 scale and minimum), with both refitted to the codes by least squares if that is better. */
const affineRule: BlockRule = (block) => {
  const min = Math.min(...block);
  const scale = (Math.max(...block) - min) / 15;
  if (scale === 0) return new Float64Array(BLOCK).fill(f16ToF32(f32ToF16(min)));
  let best = affineValues(block, scale, min);
  let bestError = squaredError(block, best.values);
  for (let round = 0; round < 4; round++) {
    const refit = leastSquares(block, best.codes);
    const next = affineValues(block, refit.scale, refit.min);
    const error = squaredError(block, next.values);
    if (error >= bestError) break;
    [best, bestError] = [next, error];
  }
  return best.values;
};

function affineValues(block: Float32Array, scale: number, min: number): { codes: Float64Array; values: Float64Array } {
  const [s, m] = [f16ToF32(f32ToF16(scale)), f16ToF32(f32ToF16(min))];
  const codes = Float64Array.from(block, (weight) => Math.max(0, Math.min(15, Math.round((weight - m) / s))));
  return { codes, values: codes.map((code) => code * s + m) };
}

function leastSquares(block: Float32Array, codes: Float64Array): { scale: number; min: number } {
  let [sumCode, sumWeight, sumCodeCode, sumCodeWeight] = [0, 0, 0, 0];
  for (const [i, code] of codes.entries()) {
    sumCode += code;
    sumWeight += block[i]!;
    sumCodeCode += code * code;
    sumCodeWeight += code * block[i]!;
  }
  const scale = (BLOCK * sumCodeWeight - sumCode * sumWeight) / (BLOCK * sumCodeCode - sumCode * sumCode);
  return { scale, min: (sumWeight - scale * sumCode) / BLOCK };
}

function squaredError(block: Float32Array, values: Float64Array): number {
  return block.reduce((sum, weight, i) => sum + (weight - values[i]!) ** 2, 0);
}

/** Σ (w − ŵ)² / Σ w² over all experts. */
function nmseOf(
  experts: readonly SwigluWeights[],
  matrix: keyof SwigluWeights,
  rule: (expert: SwigluWeights) => SwigluWeights,
): number {
  let [error, power] = [0, 0];
  for (const expert of experts) {
    const values = rule(expert)[matrix];
    for (const [i, weight] of expert[matrix].entries()) {
      error += (weight - values[i]!) ** 2;
      power += weight * weight;
    }
  }
  return error / power;
}

function speedOf(
  quant: (typeof QUANTS)[number],
  repeats: number,
): { quant: string; packMBps: number; unpackMBps: number } {
  const expert = normalExpert(HIDDEN, INTERMEDIATE);
  const shape = { hiddenSize: HIDDEN, moeIntermediateSize: INTERMEDIATE, quant };
  const shard = packExpert(shape, expert);
  if (shard.byteLength !== shardBytes(shape)) throw new Error(`a ${quant} shard has ${shard.byteLength} bytes`);
  const megabytes = (expert.gate.byteLength * 3) / 1e6;
  const rate = (work: () => unknown): number => {
    const seconds = Array.from({ length: repeats }, () => {
      const startedMs = performance.now();
      work();
      return (performance.now() - startedMs) / 1000;
    });
    return megabytes / median(seconds);
  };
  return {
    quant,
    packMBps: rate(() => packExpert(shape, expert)),
    unpackMBps: rate(() => unpackExpert(shape, shard)),
  };
}

async function modelExperts(): Promise<SwigluWeights[]> {
  const checkpoint = await openCheckpoint(MODEL_DIR);
  try {
    const { config } = checkpoint;
    const experts: SwigluWeights[] = [];
    for (const layer of moeLayers(config)) {
      for (let expert = 0; expert < config.nRoutedExperts; expert++) {
        const { gate, up, down } = expertTensors(config, layer, expert);
        experts.push({
          gate: await checkpoint.read(gate!),
          up: await checkpoint.read(up),
          down: await checkpoint.read(down),
        });
      }
    }
    return experts;
  } finally {
    await checkpoint.close();
  }
}

function normalExpert(D: number, F: number): SwigluWeights {
  const random = createRng(4);
  const normal = (length: number, deviation: number): Float32Array =>
    Float32Array.from(
      { length },
      () => deviation * Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random()),
    );
  return {
    gate: normal(F * D, 1 / Math.sqrt(D)),
    up: normal(F * D, 1 / Math.sqrt(D)),
    down: normal(D * F, 1 / Math.sqrt(F)),
  };
}
