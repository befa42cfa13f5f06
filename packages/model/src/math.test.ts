import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { linear, rmsNorm, silu, softmax } from './math.ts';
import type { RopeConfig } from './model-config.ts';
import { ropeAngles, rotate } from './rope.ts';
import { inverseFrequencies } from './rope-scaling.ts';
import { yarnMscale } from './yarn.ts';

const random = (length: number, seed: number) =>
  Float32Array.from({ length }, (_, i) => Math.sin(i * 12.9898 + seed) * 2);

describe('linear', () => {
  it('is the plain sum for every ragged shape, and each row has the bits that it has alone', () => {
    const size = fc.integer({ min: 1, max: 11 });
    fc.assert(
      fc.property(size, size, size, (numRows, inDim, outDim) => {
        const x = random(numRows * inDim, 1);
        const w = random(outDim * inDim, 2);
        const y = linear(x, w, numRows, inDim, outDim, new Float32Array(numRows * outDim).fill(Number.NaN));
        for (let r = 0; r < numRows; r++) {
          for (let o = 0; o < outDim; o++) {
            let sum = 0;
            for (let i = 0; i < inDim; i++) sum += x[r * inDim + i]! * w[o * inDim + i]!;
            expect(y[r * outDim + o]).toBe(Math.fround(sum));
          }
          const alone = linear(x.subarray(r * inDim, (r + 1) * inDim), w, 1, inDim, outDim);
          expect(y.subarray(r * outDim, (r + 1) * outDim)).toEqual(alone);
        }
      }),
    );
  });
});

describe('rmsNorm', () => {
  it('divides by the root of the mean square', () => {
    const y = rmsNorm(Float32Array.of(3, 4, 0, 0), Float32Array.of(1, 2), 2, 0);
    const rms = Math.sqrt(12.5);
    expect([...y.subarray(0, 2)]).toEqual([Math.fround(3 / rms), Math.fround(8 / rms)]);
  });

  it('leaves a zero row zero, by eps', () => {
    expect(rmsNorm(new Float32Array(4), new Float32Array(4).fill(1), 1, 1e-6)).toEqual(new Float32Array(4));
  });
});

describe('softmax and silu', () => {
  it('are stable for large values', () => {
    const p = Float64Array.of(1000, 1000, -1000);
    softmax(p);
    expect([...p]).toEqual([0.5, 0.5, 0]);
    expect(silu(-1000)).toBeCloseTo(0);
    expect(silu(1000)).toBe(1000);
    expect(silu(1)).toBeCloseTo(0.7310585786);
  });
});

describe('RoPE', () => {
  const plain = (dim: number, theta: number, pairs: RopeConfig['pairs'] = 'interleaved'): RopeConfig => ({
    pairs,
    dim,
    inverseFrequencies: inverseFrequencies(theta, dim),
    attentionFactor: 1,
  });

  it('turns interleaved pairs, each by its own frequency', () => {
    const x = Float32Array.of(9, 1, 0, 0, 1, 9);
    rotate(x, 1, ropeAngles([0, 3], plain(4, 100)), 1);
    expect([...x]).toEqual([9, Math.cos(3), Math.sin(3), -Math.sin(0.3), Math.cos(0.3), 9].map(Math.fround));
  });

  it('turns halves, by the same angles and the attention factor', () => {
    const x = Float32Array.of(9, 1, 0, 0, 1, 9);
    rotate(x, 1, ropeAngles([3], { ...plain(4, 100, 'halves'), attentionFactor: 2 }), 0);
    expect([...x]).toEqual(
      [9, 2 * Math.cos(3), -2 * Math.sin(0.3), 2 * Math.sin(3), 2 * Math.cos(0.3), 9].map(Math.fround),
    );
  });

  it('makes products depend on the distance of two positions only', () => {
    const product = (p: number, q: number) => {
      const [a, b] = [random(8, 3), random(8, 4)];
      rotate(a, 0, ropeAngles([p], plain(8, 10000)), 0);
      rotate(b, 0, ropeAngles([q], plain(8, 10000)), 0);
      return a.reduce((sum, v, i) => sum + v * b[i]!, 0);
    };
    expect(product(5, 2)).toBeCloseTo(product(100_005, 100_002), 4);
    expect(product(5, 2)).not.toBeCloseTo(product(5, 3), 2);
  });
});

describe('YaRN', () => {
  const deepseekV3 = {
    type: 'yarn' as const,
    factor: 40,
    originalMaxPositionEmbeddings: 4096,
    betaFast: 32,
    betaSlow: 1,
    mscale: 1,
    mscaleAllDim: 1,
    attentionFactor: undefined,
    truncate: true,
  };

  it('keeps fast pairs, slows the slow ones by the factor, and blends in between', () => {
    const before = inverseFrequencies(10000, 64);
    const after = inverseFrequencies(10000, 64, deepseekV3);
    // DeepSeek-V3: pairs turn 32 times at index 10.47 and once at 22.51, hence a ramp from 10 to 23.
    for (const [i, frequency] of after.entries()) {
      const slowed = Math.min(Math.max((i - 10) / 13, 0), 1);
      expect(frequency / before[i]!).toBeCloseTo(1 - slowed + slowed / 40, 12);
    }
  });

  it('has the published temperature', () => {
    expect(yarnMscale(40, 1)).toBeCloseTo(1.3688879454, 9);
    expect(yarnMscale(4, 0.5)).toBeCloseTo(1.0693147181, 9);
    expect([yarnMscale(40, 0), yarnMscale(1, 1)]).toEqual([1, 1]);
  });
});
