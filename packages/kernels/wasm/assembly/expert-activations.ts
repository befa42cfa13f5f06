// What experts make of their projections, by kind (EXPERT_ACTIVATIONS in packages/model/src/expert.ts). NaN stays NaN.
import { exp4, gelu4, loadLanes, storeLanes } from './dense/primitives';
import { siluMulRow } from './dense/rows';

/** Numbers of the kinds, as in packages/kernels/src/activation-codes.ts. */
const SWIGLU: i32 = 0;
const CLAMPED_SWIGLU: i32 = 1;
const GEGLU: i32 = 2;
const RELU: i32 = 3;
const RELU2: i32 = 4;

export function isGated(activation: i32): bool {
  return activation < RELU;
}

/** Computes a row's activations in place of `gate`, or of `up` where there is no gate; returns where they are. */
export function activateRow(activation: i32, gate: usize, up: usize, dim: i32): usize {
  if (activation == SWIGLU) {
    siluMulRow(gate, up, dim);
    return gate;
  }
  const target = isGated(activation) ? gate : up;
  for (let i = 0; i < dim; i += 4) {
    const at = (<usize>i) << 2;
    const g = loadLanes(target + at, dim - i);
    const u = loadLanes(up + at, dim - i);
    storeLanes(target + at, activated(activation, g, u), dim - i);
  }
  return target;
}

@inline
function activated(activation: i32, g: v128, u: v128): v128 {
  if (activation == CLAMPED_SWIGLU) {
    const limit = f32x4.splat(7);
    const gate = f32x4.min(g, limit);
    const up = f32x4.max(f32x4.min(u, limit), f32x4.neg(limit));
    return f32x4.mul(f32x4.add(up, f32x4.splat(1)), timesSigmoid(gate, f32x4.mul(gate, f32x4.splat(1.702))));
  }
  if (activation == GEGLU) {
    // (1 + tanh z) / 2 = σ(2 z), with z = √(2 / π) (g + 0.044715 g³).
    const cube = f32x4.mul(f32x4.mul(f32x4.mul(g, g), g), f32x4.splat(0.044715));
    const twice = f32x4.mul(f32x4.add(g, cube), f32x4.splat(1.5957691216057308));
    return f32x4.mul(timesSigmoid(g, twice), u);
  }
  if (activation > RELU2) return gelu4(u);
  const positive = f32x4.max(u, f32x4.splat(0));
  return activation == RELU ? positive : f32x4.mul(positive, positive);
}

/** x σ(z) */
@inline
function timesSigmoid(x: v128, z: v128): v128 {
  return f32x4.div(x, f32x4.add(f32x4.splat(1), exp4(f32x4.neg(z))));
}
