import { decodeF16, encodeF16, sliceRows, type SwigluWeights, uniformWorkItem } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { EXPERTS, HIDDEN, TOP_K } from './fake-peer.ts';
import { ReferenceWork } from './reference-work.ts';

describe('ReferenceWork', () => {
  it('gives a row the same sum whatever is computed with it', async () => {
    const weightsOf = (seed: number): SwigluWeights => {
      const matrix = (salt: number): Float32Array =>
        Float32Array.from({ length: 3 * HIDDEN }, (_, i) => Math.sin(seed * 5 + salt + i));
      return { gate: matrix(1), up: matrix(2), down: matrix(3) };
    };
    const work = new ReferenceWork({
      hiddenSize: HIDDEN,
      maxBytes: 2 ** 20,
      read: async (layer, expert) => weightsOf(layer * 10 + expert),
    });
    const numRows = 21;
    const rows = encodeF16(Float32Array.from({ length: numRows * HIDDEN }, (_, i) => Math.cos(i)));
    const experts = Uint16Array.from({ length: numRows * TOP_K }, (_, i) => (i * 3) % EXPERTS);
    const weights = Float32Array.from(experts, (_, i) => 1 / (i + 1));
    const item = uniformWorkItem({ layer: 1, rows, numRows, experts, weights });
    const together = await work.compute(item);
    for (let row = 0; row < numRows; row++) {
      const alone = await work.compute(sliceRows(item, row));
      expect(together.slice(row * HIDDEN, (row + 1) * HIDDEN)).toEqual(alone);
    }
    expect(decodeF16(rows)).toHaveLength(numRows * HIDDEN);
  });
});
