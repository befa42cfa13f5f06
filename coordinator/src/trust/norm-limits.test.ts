import { createRng, encodeF16, EXPERT_ACTIVATIONS, expertNorms, isGated, runExpert } from '@shoal/model';
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
