import { describe, expect, it } from 'vitest';
import { openGate } from './index.ts';

const layer = { layer: 0, numExperts: 16 };
const logits = Float32Array.from({ length: 64 * 16 }, (_, i) => Math.sin(i * i));
const rows = { numRows: 64, logits };
const open = (settings: object, of = layer) => openGate('noisy-top-k', { k: 4, ...settings }, of);

describe('gate noisy-top-k', () => {
  it('is top k with a softmax, bit for bit, where the scale is 0, as it is by default', () => {
    expect(open({})(rows)).toEqual(openGate('top-k', { k: 4 }, layer)(rows));
  });

  it('repeats its noise for a seed, a layer and a position, whatever rows are beside it', () => {
    const gate = open({ noiseScale: 1, seed: 7 });
    const all = gate(rows);
    expect(gate(rows)).toEqual(all);
    const row = logits.slice(9 * 16, 10 * 16);
    const alone = gate({ numRows: 1, logits: row, positions: [9] });
    expect([alone.experts, alone.weights]).toEqual([all.experts.slice(36, 40), all.weights.slice(36, 40)]);
    expect(open({ noiseScale: 1, seed: 8 })(rows)).not.toEqual(all);
    expect(open({ noiseScale: 1, seed: 7 }, { ...layer, layer: 1 })(rows)).not.toEqual(all);
  });

  it('adds noise of the scale as its standard deviation', () => {
    // With two equal logits and noise of deviation σ, ln(w₀ / w₁) has the variance 2σ².
    const equal = { numRows: 20_000, logits: new Float64Array(40_000) };
    const gate = openGate('noisy-top-k', { k: 2, noiseScale: 3 }, { layer: 0, numExperts: 2 });
    const { experts, weights } = gate(equal);
    let [sum, squares] = [0, 0];
    for (let i = 0; i < experts.length; i += 2) {
      const difference = Math.log(weights[i]! / weights[i + 1]!) * (experts[i] === 0 ? 1 : -1);
      sum += difference;
      squares += difference ** 2;
    }
    expect(sum / 20_000).toBeCloseTo(0, 0);
    expect(squares / 20_000 / 18).toBeCloseTo(1, 1);
  });

  it.each([
    [{ k: 17 }, 'k is 17: there are only 16 experts'],
    [{ noiseScale: -1 }, 'noiseScale is -1'],
    [{ noiseScale: Number.NaN }, 'noiseScale is NaN'],
    [{ seed: 0.5 }, 'seed is 0.5'],
  ])('refuses %j by name', (settings, problem) => {
    expect(() => open(settings)).toThrow(`gate noisy-top-k: ${problem}`);
  });
});
