import { createRng, encodeF16, swigluExpert } from '@shoal/model';
import { expect, it } from 'vitest';
import { NormLimits } from './norm-limits.ts';
import { HIDDEN, oneRow, randoms, scaled } from './testing/fixtures.ts';

const WIDTH = 8;

it('NormLimits.absurdRow accepts every honest row and finds an absurd one', () => {
  const rng = createRng(9);
  const weights = {
    gate: randoms(HIDDEN * WIDTH, rng),
    up: randoms(HIDDEN * WIDTH, rng),
    down: randoms(HIDDEN * WIDTH, rng),
  };
  const norms = new NormLimits();
  norms.learn(1, 0, weights);
  for (let i = 0; i < 200; i++) {
    const x = randoms(HIDDEN, rng, 4);
    const item = oneRow(encodeF16(x), [0], [0.7]);
    const y = scaled(swigluExpert(x, weights, 1, HIDDEN), 0.7);
    expect(norms.absurdRow(item, y)).toBeUndefined();
    expect(norms.absurdRow(item, new Float32Array(HIDDEN).fill(65_504))).toBe(0);
  }
  // An unknown expert has no limit.
  expect(
    norms.absurdRow(oneRow(new Uint16Array(HIDDEN).fill(0x3c00), [1], [1]), new Float32Array(HIDDEN).fill(65_504)),
  ).toBeUndefined();
});
