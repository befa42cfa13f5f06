import { type ExpertActivation, isGated } from '@shoal/model';
import { type ExpertShape, type MatrixName, shardLayout } from '@shoal/weights';
import activationsWgsl from './activations.wgsl?raw';
import adaptersWgsl from './adapters.wgsl?raw';
import arithmeticF32Wgsl from './arithmetic-f32.wgsl?raw';
import arithmeticInt8Wgsl from './arithmetic-int8.wgsl?raw';
import beginTileWgsl from './begin-tile.wgsl?raw';
import bindingsWgsl from './bindings.wgsl?raw';
import combineWgsl from './combine.wgsl?raw';
import downWgsl from './down.wgsl?raw';
import gateUpAddedWgsl from './gate-up-added.wgsl?raw';
import gateUpWgsl from './gate-up.wgsl?raw';
import loadsDirectWgsl from './loads-direct.wgsl?raw';
import loadsSubgroupWgsl from './loads-subgroup.wgsl?raw';
import mxfp4CodesWgsl from './mxfp4-codes.wgsl?raw';
import quantiseWgsl from './quantise.wgsl?raw';
import weightsF16Wgsl from './weights-f16.wgsl?raw';
import weightsMxfp4F32Wgsl from './weights-mxfp4-f32.wgsl?raw';
import weightsMxfp4Int8Wgsl from './weights-mxfp4-int8.wgsl?raw';
import weightsQ4F32Wgsl from './weights-q4-f32.wgsl?raw';
import weightsQ4Int8Wgsl from './weights-q4-int8.wgsl?raw';
import weightsQ8F32Wgsl from './weights-q8-f32.wgsl?raw';
import weightsQ8Int8Wgsl from './weights-q8-int8.wgsl?raw';

/** How the passes compute. Every variant gives the same numbers up to rounding. */
export interface FfnVariant {
  /** f32 products, or integer dot products of inputs as 16 bits (the language feature packed_4x8_integer_dot_product). */
  arithmetic: 'f32' | 'int8';
  /** Whether a subgroup's threads share their loads of the inputs (the device feature `subgroups`). */
  loads: 'direct' | 'subgroup';
}

export const variantName = ({ arithmetic, loads }: FfnVariant): string => `${arithmetic}, ${loads} loads`;

/** Columns of a step of the passes. Inputs are padded to whole steps. */
export const STEP_COLS = 32;
/** Vectors of 16 bytes of 32 quantised inputs (arithmetic-int8.wgsl). */
export const INT8_STEP_VECS = 5;
/** WebGPU's guaranteed maxComputeWorkgroupsPerDimension. */
export const MAX_DISPATCH = 65_535;
const VEC_BYTES = 16;

const WEIGHTS = {
  f32: {
    f16: [weightsF16Wgsl],
    q8: [weightsQ8F32Wgsl],
    q4: [weightsQ4F32Wgsl],
    mxfp4: [mxfp4CodesWgsl, weightsMxfp4F32Wgsl],
  },
  int8: {
    f16: undefined,
    q8: [weightsQ8Int8Wgsl],
    q4: [weightsQ4Int8Wgsl],
    mxfp4: [mxfp4CodesWgsl, weightsMxfp4Int8Wgsl],
  },
} as const;

/** Calls of activations.wgsl. */
const ACTIVATE: Readonly<Record<ExpertActivation, string>> = {
  swiglu: 'swiglu(g_$r, u_$r)',
  'clamped-swiglu': 'clamped_swiglu(g_$r, u_$r)',
  geglu: 'geglu(g_$r, u_$r)',
  relu: 'relu(u_$r)',
  relu2: 'relu2(u_$r)',
  gelu: 'gelu(u_$r)',
};

/** The variants that a device can run for a format, the simplest first. f16 has no integers to multiply. */
export function variantsFor(
  { quant }: ExpertShape,
  device: { hasSubgroups: boolean; hasIntegerDot: boolean },
): FfnVariant[] {
  const loads = device.hasSubgroups ? (['direct', 'subgroup'] as const) : (['direct'] as const);
  const arithmetics = device.hasIntegerDot && WEIGHTS.int8[quant] ? (['f32', 'int8'] as const) : (['f32'] as const);
  return arithmetics.flatMap((arithmetic) => loads.map((how) => ({ arithmetic, loads: how })));
}

export type PassName = 'gate_up' | 'down' | 'quantise' | 'combine' | 'adapt_in' | 'adapt_out';

/** The WGSL of one pass. `tileRows` is the number of places that share a load of weights; `adapted`: gate and up with adapters. */
export function passSource(
  pass: PassName,
  { quant, activation = 'swiglu' }: ExpertShape,
  variant: FfnVariant,
  tileRows: number,
  adapted = false,
): string {
  if (pass === 'quantise') return [bindingsWgsl, quantiseWgsl].join('\n');
  if (pass === 'adapt_in' || pass === 'adapt_out') return adaptersWgsl;
  if (pass === 'combine') return [bindingsWgsl, combineWgsl].join('\n');
  const isShared = variant.loads === 'subgroup';
  return [
    ...(isShared ? ['enable subgroups;'] : []),
    bindingsWgsl,
    isShared ? loadsSubgroupWgsl : loadsDirectWgsl,
    variant.arithmetic === 'f32' ? arithmeticF32Wgsl : arithmeticInt8Wgsl,
    ...WEIGHTS[variant.arithmetic][quant]!,
    ...(pass === 'gate_up' ? [activationsWgsl] : []),
    ...(adapted ? [gateUpAddedWgsl] : []),
    repeatRows(pass === 'gate_up' ? gateUpOf(activation, adapted) : downWgsl, tileRows)
      .replace('$begin_tile', beginTileWgsl)
      .replace('$lane', isShared ? ', @builtin(subgroup_invocation_id) subgroup_lane: u32' : '')
      .replace('$set_lane', isShared ? 'lane = subgroup_lane;' : ''),
  ].join('\n');
}

function gateUpOf(activation: ExpertActivation, adapted: boolean): string {
  const added = gateUpWgsl.replaceAll(/\$adapted\{(.*?)\}\$/g, adapted ? '$1' : '');
  const gated = added.replaceAll(/\$gated\{(.*?)\}\$/g, isGated(activation) ? '$1' : '');
  return gated.replace('$activate', ACTIVATE[activation]);
}

/** Repeats each line with `$r` for every row of the tile. */
function repeatRows(source: string, tileRows: number): string {
  const rows = [...Array(tileRows).keys()];
  return source
    .split('\n')
    .flatMap((line) =>
      line.includes('$r') && !line.startsWith('//') ? rows.map((r) => line.replaceAll('$r', `${r}`)) : line,
    )
    .join('\n');
}

/** The overrides of bindings.wgsl, or of adapters.wgsl. */
export function constantsOf(shape: ExpertShape, pass: PassName): Record<string, number> {
  const { hiddenSize: HIDDEN, moeIntermediateSize: INTERMEDIATE } = shape;
  if (pass === 'adapt_in' || pass === 'adapt_out') return { HIDDEN, INTERMEDIATE, MAX_DISPATCH };
  const { matrices, biases, totalBytes } = shardLayout(shape);
  const matrix = (name: MatrixName) => matrices.find((each) => each.name === name);
  const bias = (name: MatrixName): number => (biases.find((each) => each.name === name)?.offset ?? 0) / VEC_BYTES;
  const [gate, up, down] = [matrix('gate'), matrix('up')!, matrix('down')!];
  return {
    HIDDEN,
    INTERMEDIATE,
    SHARD_VECS: totalBytes / VEC_BYTES,
    GATE_VALUES: (gate?.valuesOffset ?? 0) / VEC_BYTES,
    GATE_SCALES: (gate?.scalesOffset ?? 0) / VEC_BYTES,
    UP_VALUES: up.valuesOffset / VEC_BYTES,
    UP_SCALES: up.scalesOffset / VEC_BYTES,
    DOWN_VALUES: down.valuesOffset / VEC_BYTES,
    DOWN_SCALES: down.scalesOffset / VEC_BYTES,
    GATE_BIAS: bias('gate'),
    UP_BIAS: bias('up'),
    DOWN_BIAS: bias('down'),
    HIDDEN_BLOCKS: up.colBlocks,
    INTERMEDIATE_BLOCKS: down.colBlocks,
    HIDDEN_STEPS: stepsOf(shape.hiddenSize),
    INTERMEDIATE_STEPS: stepsOf(shape.moeIntermediateSize),
    MAX_DISPATCH,
  };
}

export const stepsOf = (columns: number): number => Math.ceil(columns / STEP_COLS);
