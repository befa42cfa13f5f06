import { createRng, type ExpertAdapter, type LowRank } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { maxAdapterShardBytes, packAdapter, unpackAdapter } from './adapter-shard.ts';

const shape = { hiddenSize: 6, moeIntermediateSize: 5, quant: 'f16' } as const;
const rng = createRng(3);
const values = (length: number): Float32Array => Float32Array.from({ length }, () => rng() - 0.5);

function pair(rank: number, inDim: number, outDim: number): LowRank {
  return { rank, inDim, outDim, a: values(rank * inDim), b: values(outDim * rank) };
}

const whole: ExpertAdapter = { gate: pair(2, 6, 5), up: pair(1, 6, 5), down: pair(3, 5, 6) };

describe('a low-rank shard', () => {
  it.each<[string, ExpertAdapter]>([
    ['of all matrices', whole],
    ['of down alone', { down: pair(4, 5, 6) }],
    ['of the largest rank', { gate: pair(256, 6, 5), up: pair(256, 6, 5), down: pair(256, 5, 6) }],
  ])('%s keeps its bits', (_, adapter) => {
    const bytes = packAdapter(adapter);
    expect(unpackAdapter(shape, bytes)).toEqual(adapter);
    expect(bytes.byteLength).toBeLessThanOrEqual(maxAdapterShardBytes(shape));
    // Also where it lies at an odd address.
    const shifted = new Uint8Array(bytes.length + 1);
    shifted.set(bytes, 1);
    expect(unpackAdapter(shape, shifted.subarray(1))).toEqual(adapter);
  });

  const word = (at: number, value: number) => (view: DataView) => view.setInt32(4 * at, value, true);
  /** Of the first pair, whose header begins at byte 64. */
  it.each<[string, RegExp, (view: DataView) => void]>([
    ['another offset', /begins at byte 65/, word(0, 65)],
    ['a negative offset', /begins at byte -4/, word(0, -4)],
    ['no pairs', /adds nothing/, (view) => [0, 1, 2].forEach((i) => word(i, 0)(view))],
    ['a pair left out', /instead of/, word(2, 0)],
    ['rank 0', /rank of its gate is 0/, word(16, 0)],
    ['a rank beyond the largest', /rank of its gate is 257/, word(16, 257)],
    ['a rank beyond its bytes', /cut off|begins at/, word(16, 200)],
    ['other columns', /is not \[5, 6\]/, word(17, 12)],
    ['other rows', /is not \[5, 6\]/, word(18, 4)],
    ['NaN', /NaN or ∞/, (view) => view.setFloat32(4 * 20, Number.NaN, true)],
    ['∞', /NaN or ∞/, (view) => view.setFloat32(4 * 20, Number.POSITIVE_INFINITY, true)],
    ['padding that is not 0', /not padded/, (view) => view.setFloat32(4 * 26, 1, true)],
  ])('with %s is refused', (_, message, edit) => {
    const bytes = packAdapter(whole);
    edit(new DataView(bytes.buffer));
    expect(() => unpackAdapter(shape, bytes)).toThrow(message);
  });

  it.each([0, 1, 63, 64, 100])('cut to %i bytes is refused', (length) => {
    expect(() => unpackAdapter(shape, packAdapter(whole).subarray(0, length))).toThrow(/low-rank shard/);
  });
});
