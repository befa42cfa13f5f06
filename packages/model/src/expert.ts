import type { AdapterTarget } from './adapters/adapter.ts';
import { erf, linear, silu } from './math.ts';

/**
 * An expert's arithmetic on g = W_gate x and u = W_up x, whose result W_down takes:
 * - `swiglu`: silu(g) · u (Shazeer 2020).
 * - `clamped-swiglu`: (u + 1) · g · σ(1.702 g), with g cut above 7 and u to ±7 (gpt-oss).
 * - `geglu`: gelu(g) · u, with gelu's tanh approximation (Shazeer 2020; Gemma).
 * - `relu`: max(u, 0), and `relu2`: max(u, 0)²; both without a gate matrix (Switch; Nemotron).
 * - `gelu`: u · Φ(u), with Φ by the error function (Hendrycks and Gimpel 2016); without a gate matrix (nomic-embed).
 */
export const EXPERT_ACTIVATIONS = ['swiglu', 'clamped-swiglu', 'geglu', 'relu', 'relu2', 'gelu'] as const;
export type ExpertActivation = (typeof EXPERT_ACTIVATIONS)[number];

/** gpt-oss's constants of `clamped-swiglu`. */
export const CLAMP_LIMIT = 7;
export const CLAMPED_ALPHA = 1.702;

/** Whether experts with this activation have a gate matrix. */
export function isGated(activation: ExpertActivation): boolean {
  return activation !== 'relu' && activation !== 'relu2' && activation !== 'gelu';
}

/** One SwiGLU feed-forward network: a dense layer's or the shared expert. */
export interface SwigluWeights {
  /** [width, hiddenSize] */
  gate: Float32Array;
  /** [width, hiddenSize] */
  up: Float32Array;
  /** [hiddenSize, width] */
  down: Float32Array;
}

/** One routed expert. */
export interface ExpertWeights extends Omit<SwigluWeights, 'gate'> {
  /** [width, hiddenSize]; null where the activation has no gate. */
  gate: Float32Array | null;
  /** [width], [width] and [hiddenSize]; null where the experts have none. */
  biases: { gate: Float32Array | null; up: Float32Array; down: Float32Array } | null;
}

/** y = W_down (silu(W_gate x) ⊙ W_up x) for every row of x [numRows, hiddenSize]; returns [numRows, hiddenSize]. */
export function swigluExpert(
  x: Float32Array,
  weights: SwigluWeights,
  numRows: number,
  hiddenSize: number,
  adapters?: Adds,
): Float32Array {
  return runExpert('swiglu', x, { ...weights, biases: null }, numRows, hiddenSize, adapters);
}

/** Adds what the rows' adapters add to a product: y += B (A x). Returns y. */
interface Adds {
  add(target: AdapterTarget, x: Float32Array, y: Float32Array): Float32Array;
}

/** One expert for every row of x [numRows, hiddenSize]; returns [numRows, hiddenSize]. */
export function runExpert(
  activation: ExpertActivation,
  x: Float32Array,
  { gate, up, down, biases }: ExpertWeights,
  numRows: number,
  hiddenSize: number,
  adapters: Adds = NO_ADAPTERS,
): Float32Array {
  const width = down.length / hiddenSize;
  const u = addBias(adapters.add('up', x, linear(x, up, numRows, hiddenSize, width)), biases?.up);
  const g = gate && addBias(adapters.add('gate', x, linear(x, gate, numRows, hiddenSize, width)), biases?.gate);
  for (let i = 0; i < u.length; i++) u[i] = activate(activation, g ? g[i]! : 0, u[i]!);
  return addBias(adapters.add('down', u, linear(u, down, numRows, width, hiddenSize)), biases?.down);
}

const NO_ADAPTERS: Adds = { add: (_target, _x, y) => y };

/** An activation's result for one pair of values; `g` is not used by those without a gate. */
export function activate(activation: ExpertActivation, g: number, u: number): number {
  switch (activation) {
    case 'swiglu':
      return silu(g) * u;
    case 'clamped-swiglu': {
      const cut = Math.min(g, CLAMP_LIMIT);
      const linearPart = Math.min(Math.max(u, -CLAMP_LIMIT), CLAMP_LIMIT);
      return (linearPart + 1) * (cut / (1 + Math.exp(-CLAMPED_ALPHA * cut)));
    }
    case 'geglu':
      return 0.5 * g * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (g + 0.044715 * g ** 3))) * u;
    case 'relu':
      return Math.max(u, 0);
    case 'relu2':
      return Math.max(u, 0) ** 2;
    case 'gelu':
      return gelu(u);
    default:
      return activation satisfies never;
  }
}

/** u · Φ(u), exactly. */
export function gelu(u: number): number {
  return 0.5 * u * (1 + erf(u * Math.SQRT1_2));
}

/** Adds a bias [width] to every row of x [numRows, width], in place. */
export function addBias(x: Float32Array, bias: Float32Array | null | undefined): Float32Array {
  if (bias) for (let i = 0; i < x.length; i++) x[i] = x[i]! + bias[i % bias.length]!;
  return x;
}
