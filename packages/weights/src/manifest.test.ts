import { describe, expect, it } from 'vitest';
import { type ExpertShape, shardBytes } from './layout.ts';
import { digestText, formatVersionOf, parseManifest } from './manifest.ts';

const HASH = 'ab'.repeat(32);
const PLAIN: ExpertShape = { hiddenSize: 40, moeIntermediateSize: 24, quant: 'q4' };
const KINDS: ExpertShape[] = [
  { ...PLAIN, quant: 'mxfp4' },
  { ...PLAIN, bias: true },
  { ...PLAIN, activation: 'geglu' },
];

/** `formatVersion` may be any number, as in a file. */
function manifestOf(shape: ExpertShape, formatVersion = formatVersionOf(shape) as number) {
  return {
    formatVersion: formatVersion as 3 | 4 | 5,
    packerVersion: 2,
    modelId: 'some-model',
    shape,
    shardBytes: shardBytes(shape),
    expertLayers: [1],
    expertsPerLayer: 2,
    shards: { '1': [HASH, HASH] },
    dense: { format: 'q8' as const, bytes: 1, entries: {} },
    numNextnPredictLayers: 0,
    files: [],
    sourceFingerprint: HASH,
    modelDigest: HASH,
  };
}

const refusal = (manifest: object, message: RegExp) =>
  expect(() => parseManifest(JSON.stringify(manifest))).toThrowError(
    expect.objectContaining({ reason: 'bad-manifest', message: expect.stringMatching(message) as string }),
  );

describe('parseManifest', () => {
  it('reads the version of before there were kinds, and the one of those', () => {
    expect(manifestOf(PLAIN).formatVersion).toBe(3);
    expect(parseManifest(JSON.stringify(manifestOf(PLAIN)))).toEqual(manifestOf(PLAIN));
    for (const shape of KINDS) {
      expect(manifestOf(shape).formatVersion).toBe(4);
      expect(parseManifest(JSON.stringify(manifestOf(shape))).shape).toEqual(shape);
    }
  });

  it('refuses a kind under the version of an earlier shoal, which would read it as SwiGLU, and a version to come', () => {
    for (const shape of KINDS) refusal(manifestOf(shape, 3), /formatVersion is not the 4 that shape implies/);
    refusal(manifestOf(PLAIN, 4), /formatVersion is not the 3 that shape implies/);
    refusal(manifestOf(PLAIN, 2), /formatVersion is 2, but this version of shoal reads 3, 4, 5; pack the model again/);
    refusal(manifestOf(PLAIN, 6), /formatVersion is 6/);
    const unknown = { ...PLAIN, activation: 'swish' } as unknown as ExpertShape;
    refusal({ ...manifestOf(PLAIN), shape: unknown }, /shape\.activation/);
  });
});

describe('the manifest of a dense model', () => {
  const NONE = { ...PLAIN, moeIntermediateSize: 0 };
  const dense = { ...manifestOf(NONE), expertLayers: [], expertsPerLayer: 0, shards: {} };

  it('has a version of its own, and no experts', () => {
    expect(dense).toMatchObject({ formatVersion: 5, shardBytes: 0 });
    expect(parseManifest(JSON.stringify(dense))).toEqual(dense);
  });

  it('is refused where its shape says otherwise than its lists', () => {
    refusal(manifestOf(NONE), /expertLayers does not fit the experts that shape implies/);
    refusal({ ...manifestOf(PLAIN), expertLayers: [], shards: {} }, /expertLayers does not fit/);
    refusal({ ...dense, formatVersion: 3 }, /formatVersion is not the 5/);
  });
});

describe('digestText', () => {
  it('is what it was for SwiGLU without biases, and differs by kind', () => {
    expect(digestText(manifestOf(PLAIN))).toBe(`1 q4 40 24 2\n1 ${HASH} ${HASH}\n`);
    expect(digestText(manifestOf({ ...PLAIN, bias: true }))).toBe(`1 q4 40 24 2 swiglu biases\n1 ${HASH} ${HASH}\n`);
    expect(digestText(manifestOf({ ...PLAIN, activation: 'relu' }))).toContain('1 q4 40 24 2 relu no-biases\n');
  });
});
