import { describe, expect, it } from 'vitest';
import { createRng } from './rng.ts';
import { byWeight } from './weight-order.ts';

const rng = createRng(7);
const weightsOf: Record<string, (i: number) => number> = {
  'of all sizes': () => Math.exp(-40 * rng()),
  'that are all but equal': () => 1 - rng() * 2 ** -45,
  'with many ties': () => Math.floor(rng() * 5) / 4,
  'with zeros and the smallest there are': (i) => (i % 3) * Number.MIN_VALUE,
  'that are all the same': () => 0.25,
};

describe.each(Object.entries(weightsOf))('tokens by weights %s', (_, weightOf) => {
  it.each([0, 1, 1023, 1024, 5000])('are those of a comparing sort, %i of them', (count) => {
    const weights = Float64Array.from({ length: 2 * count }, (_value, i) => weightOf(i));
    const tokens = Uint32Array.from({ length: count }, (_value, i) => 2 * i + (i % 2));
    const expected = [...tokens].sort((a, b) => weights[b]! - weights[a]! || a - b);
    expect([...byWeight(tokens, weights)]).toEqual(expected);
  });
});
