import { ModelError } from './errors.ts';
import { plainFrequencies, yarnFrequencies, type Yarn, yarnMscale } from './yarn.ts';

/** Llama 3.1's context extension (`apply_scaling` in Meta's published code). */
export interface Llama3Scaling {
  /** Context after ÷ before. */
  factor: number;
  /** Context before. */
  originalMaxPositionEmbeddings: number;
  /** Pairs that turn less often than this over the original context are slowed by the whole factor. */
  lowFreqFactor: number;
  /** Pairs that turn more often than this keep their frequency. */
  highFreqFactor: number;
}

/** How RoPE's frequencies differ from θ^(-2i/dim). */
export type RopeScaling =
  | ({ type: 'yarn' } & Yarn)
  | ({ type: 'llama3' } & Llama3Scaling)
  /** All frequencies are divided by the factor (position interpolation, Chen et al. 2023). */
  | { type: 'linear'; factor: number }
  /** θ is multiplied by alpha^(dim / (dim − 2)) (Hunyuan's "dynamic NTK", which is static). */
  | { type: 'ntk-alpha'; alpha: number }
  /** Each frequency is divided by a factor of its own, [dim / 2] (transformers' "longrope"; llama.cpp's rope_freqs). */
  | { type: 'factors'; factors: readonly number[] };

/** Radians per position of every pair, [dim / 2]. Throws a ModelError where there are not as many factors as pairs. */
export function inverseFrequencies(theta: number, dim: number, scaling?: RopeScaling): Float64Array {
  switch (scaling?.type) {
    case undefined:
      return plainFrequencies(theta, dim);
    case 'yarn':
      return yarnFrequencies(plainFrequencies(theta, dim), theta, scaling);
    case 'llama3':
      return plainFrequencies(theta, dim).map((frequency) => llama3Frequency(frequency, scaling));
    case 'linear':
      return plainFrequencies(theta, dim).map((frequency) => frequency / scaling.factor);
    case 'ntk-alpha':
      return plainFrequencies(theta * scaling.alpha ** (dim / (dim - 2)), dim);
    case 'factors':
      return dividedFrequencies(plainFrequencies(theta, dim), scaling.factors);
    default:
      return scaling satisfies never;
  }
}

function dividedFrequencies(frequencies: Float64Array, factors: readonly number[]): Float64Array {
  if (factors.length === frequencies.length) return frequencies.map((frequency, pair) => frequency / factors[pair]!);
  const problem = `rope_scaling has ${factors.length} factors, and heads have ${frequencies.length} pairs`;
  throw new ModelError('contradiction', 'rope_scaling', problem);
}

function llama3Frequency(frequency: number, scaling: Llama3Scaling): number {
  const { factor, originalMaxPositionEmbeddings, lowFreqFactor, highFreqFactor } = scaling;
  const turns = (originalMaxPositionEmbeddings * frequency) / (2 * Math.PI);
  if (turns < lowFreqFactor) return frequency / factor;
  if (turns > highFreqFactor || lowFreqFactor === highFreqFactor) return frequency;
  const kept = (turns - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
  return (1 - kept) * (frequency / factor) + kept * frequency;
}

/** Factor of RoPE's cosines and sines. */
export function ropeAttentionFactor(scaling: RopeScaling | undefined): number {
  if (scaling?.type !== 'yarn') return 1;
  const { attentionFactor, factor, mscale, mscaleAllDim } = scaling;
  return attentionFactor ?? yarnMscale(factor, mscale) / yarnMscale(factor, mscaleAllDim);
}
