import { shardLayout, type ExpertShape } from '@shoal/weights';
import arithmeticF32Wgsl from './arithmetic-f32.wgsl?raw';
import arithmeticInt8Wgsl from './arithmetic-int8.wgsl?raw';
import beginTileWgsl from './begin-tile.wgsl?raw';
import bindingsWgsl from './bindings.wgsl?raw';
import combineWgsl from './combine.wgsl?raw';
import downWgsl from './down.wgsl?raw';
import gateUpWgsl from './gate-up.wgsl?raw';
import loadsDirectWgsl from './loads-direct.wgsl?raw';
import loadsSubgroupWgsl from './loads-subgroup.wgsl?raw';
import quantiseWgsl from './quantise.wgsl?raw';
import weightsF16Wgsl from './weights-f16.wgsl?raw';
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
  f32: { f16: weightsF16Wgsl, q8: weightsQ8F32Wgsl, q4: weightsQ4F32Wgsl },
  int8: { f16: undefined, q8: weightsQ8Int8Wgsl, q4: weightsQ4Int8Wgsl },
} as const;

/** The variants that a device can run for a format, the simplest first. f16 has no integers to multiply. */
export function variantsFor(
  { quant }: ExpertShape,
  device: { hasSubgroups: boolean; hasIntegerDot: boolean },
): FfnVariant[] {
  const loads = device.hasSubgroups ? (['direct', 'subgroup'] as const) : (['direct'] as const);
  const arithmetics = device.hasIntegerDot && WEIGHTS.int8[quant] ? (['f32', 'int8'] as const) : (['f32'] as const);
  return arithmetics.flatMap((arithmetic) => loads.map((how) => ({ arithmetic, loads: how })));
}

export type PassName = 'gate_up' | 'down' | 'quantise' | 'combine';

/** The WGSL of one pass. `tileRows` is the number of places that share a load of weights. */
export function passSource(pass: PassName, { quant }: ExpertShape, variant: FfnVariant, tileRows: number): string {
  if (pass === 'quantise') return [bindingsWgsl, quantiseWgsl].join('\n');
  if (pass === 'combine') return [bindingsWgsl, combineWgsl].join('\n');
  const isShared = variant.loads === 'subgroup';
  return [
    ...(isShared ? ['enable subgroups;'] : []),
    bindingsWgsl,
    isShared ? loadsSubgroupWgsl : loadsDirectWgsl,
    variant.arithmetic === 'f32' ? arithmeticF32Wgsl : arithmeticInt8Wgsl,
    WEIGHTS[variant.arithmetic][quant]!,
    repeatRows(pass === 'gate_up' ? gateUpWgsl : downWgsl, tileRows)
      .replace('$begin_tile', beginTileWgsl)
      .replace('$lane', isShared ? ', @builtin(subgroup_invocation_id) subgroup_lane: u32' : '')
      .replace('$set_lane', isShared ? 'lane = subgroup_lane;' : ''),
  ].join('\n');
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

/** The overrides of bindings.wgsl. */
export function constantsOf(shape: ExpertShape): Record<string, number> {
  const { gate, up, down, totalBytes } = shardLayout(shape);
  return {
    HIDDEN: shape.hiddenSize,
    INTERMEDIATE: shape.moeIntermediateSize,
    SHARD_VECS: totalBytes / VEC_BYTES,
    GATE_VALUES: gate.valuesOffset / VEC_BYTES,
    GATE_SCALES: gate.scalesOffset / VEC_BYTES,
    UP_VALUES: up.valuesOffset / VEC_BYTES,
    UP_SCALES: up.scalesOffset / VEC_BYTES,
    DOWN_VALUES: down.valuesOffset / VEC_BYTES,
    DOWN_SCALES: down.scalesOffset / VEC_BYTES,
    HIDDEN_BLOCKS: gate.colBlocks,
    INTERMEDIATE_BLOCKS: down.colBlocks,
    HIDDEN_STEPS: stepsOf(shape.hiddenSize),
    INTERMEDIATE_STEPS: stepsOf(shape.moeIntermediateSize),
    MAX_DISPATCH,
  };
}

export const stepsOf = (columns: number): number => Math.ceil(columns / STEP_COLS);
