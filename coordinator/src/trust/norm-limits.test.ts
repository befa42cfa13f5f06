import {
  createRng,
  decodeF16,
  encodeF16,
  ItemAdaptersBuilder,
  type LowRank,
  EXPERT_ACTIVATIONS,
  expertNorms,
  isGated,
  runExpert,
} from '@shoal/model';
import { expect, it } from 'vitest';
import { NormLimits } from './norm-limits.ts';
import { HIDDEN, oneRow, randoms, scaled } from './testing/fixtures.ts';

const WIDTH = 8;

it('NormLimits.absurdRow accepts every honest row and finds an absurd one', () => {
  const rng = createRng(9);
  const norms = new NormLimits();
  for (const [expert, activation] of EXPERT_ACTIVATIONS.entries()) {
    const matrix = () => randoms(HIDDEN * WIDTH, rng);
    const gate = isGated(activation);
    const biases = { gate: gate ? randoms(WIDTH, rng) : null, up: randoms(WIDTH, rng), down: randoms(HIDDEN, rng) };
    const weights = { gate: gate ? matrix() : null, up: matrix(), down: matrix(), biases: expert % 2 ? biases : null };
    norms.learn(1, expert, activation, expertNorms(weights));
    for (let i = 0; i < 100; i++) {
      // Small ones, whose answers are little more than the biases, and large ones.
      const x = randoms(HIDDEN, rng, i % 2 ? 0.01 : 4);
      const item = oneRow(encodeF16(x), [expert], [0.7]);
      const y = scaled(runExpert(activation, x, weights, 1, HIDDEN), 0.7);
      expect(norms.absurdRow(item, y), activation).toBeUndefined();
      expect(norms.absurdRow(item, new Float32Array(HIDDEN).fill(65_504)), activation).toBe(0);
    }
  }
  // An unknown expert has no limit.
  expect(
    norms.absurdRow(oneRow(new Uint16Array(HIDDEN).fill(0x3c00), [99], [1]), new Float32Array(HIDDEN).fill(65_504)),
  ).toBeUndefined();
});

/** matrix · x */
function product(matrix: Float32Array, x: Float32Array): Float32Array {
  const cols = x.length;
  return Float32Array.from({ length: matrix.length / cols }, (_, row) =>
    x.reduce((sum, value, i) => sum + value * matrix[row * cols + i]!, 0),
  );
}

it('NormLimits.absurdRow allows for what adapters add, and for no more', () => {
  const rng = createRng(4);
  const matrix = (): Float32Array => randoms(HIDDEN * WIDTH, rng, 0.02);
  const weights = { gate: matrix(), up: matrix(), down: matrix(), biases: null };
  const norms = new NormLimits();
  norms.learn(1, 0, 'swiglu', expertNorms(weights));
  const matrices = (inDim: number, outDim: number): LowRank => {
    return { rank: 2, inDim, outDim, a: randoms(2 * inDim, rng), b: randoms(outDim * 2, rng) };
  };
  const adapter = { gate: matrices(HIDDEN, WIDTH), up: matrices(HIDDEN, WIDTH), down: matrices(WIDTH, HIDDEN) };
  const lists = new ItemAdaptersBuilder();
  lists.add(adapter, [2, -1, 3]);
  lists.end();
  const scales = { gate: 2, up: -1, down: 3 };
  const add = (part: string, x: Float32Array, y: Float32Array): Float32Array => {
    const { a, b } = adapter[part as keyof typeof adapter];
    const delta = product(b, product(a, x));
    return y.map((value, i) => value + scales[part as keyof typeof adapter] * delta[i]!);
  };
  for (let i = 0; i < 50; i++) {
    const x = randoms(HIDDEN, rng, 2);
    const plain = oneRow(encodeF16(x), [0], [1]);
    const item = { ...plain, adapters: lists.build() };
    const y = runExpert('swiglu', decodeF16(plain.rows), weights, 1, HIDDEN, { add });
    expect(norms.absurdRow(item, y)).toBeUndefined();
    expect(norms.absurdRow(plain, y)).toBe(0);
    expect(norms.absurdRow(item, new Float32Array(HIDDEN).fill(1e6))).toBe(0);
  }
});
