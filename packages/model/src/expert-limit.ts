import type { ExpertActivation, ExpertWeights, SwigluWeights } from './expert.ts';

/** Frobenius norms of an expert's matrices, and the norms of its biases; 0 for what it does not have. */
export interface ExpertNorms {
  gate: number;
  up: number;
  down: number;
  biases: { gate: number; up: number; down: number };
}

/** A bound of an expert's output: ‖expert(x)‖ ≤ square · ‖x‖² + linear · ‖x‖ + constant. */
export interface ExpertLimit {
  square: number;
  linear: number;
  constant: number;
}

/** Largest |clamp(u, −7, 7) + 1|. */
const CLAMPED_UP = 8;

/**
 * The bound, proven for each kind from ‖g‖ ≤ G ‖x‖ + g₀ and likewise for u and the output. swiglu and geglu: |silu(g)|, |gelu(g)| ≤
 * |g|, so the activations are at most ‖g ⊙ u‖ ≤ ‖g‖ ‖u‖. clamped-swiglu: |min(g, 7) σ(…)| ≤ |g|, so at most 8 ‖g‖. relu: at
 * most ‖u‖; gelu likewise, since Φ ≤ 1; relu2: ‖u²‖ ≤ ‖u‖².
 */
export function expertLimit(activation: ExpertActivation, { gate, up, down, biases }: ExpertNorms): ExpertLimit {
  const hidden = (): [square: number, linear: number, constant: number] => {
    switch (activation) {
      case 'swiglu':
      case 'geglu':
        return [gate * up, gate * biases.up + up * biases.gate, biases.gate * biases.up];
      case 'clamped-swiglu':
        return [0, CLAMPED_UP * gate, CLAMPED_UP * biases.gate];
      case 'relu':
      case 'gelu':
        return [0, up, biases.up];
      case 'relu2':
        return [up * up, 2 * up * biases.up, biases.up * biases.up];
    }
  };
  const [square, linear, constant] = hidden();
  return { square: down * square, linear: down * linear, constant: down * constant + biases.down };
}

export function expertNorms(weights: ExpertWeights | SwigluWeights): ExpertNorms {
  const { gate, up, down } = weights;
  const biases = 'biases' in weights ? weights.biases : null;
  return {
    gate: norm(gate),
    up: norm(up),
    down: norm(down),
    biases: { gate: norm(biases?.gate), up: norm(biases?.up), down: norm(biases?.down) },
  };
}

function norm(values: Float32Array | null | undefined): number {
  let sum = 0;
  for (const value of values ?? []) sum += value * value;
  return Math.sqrt(sum);
}
