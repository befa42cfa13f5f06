import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CheckpointError, type CheckpointErrorReason } from './errors.ts';
import { f32ToF16 } from './f16.ts';
import { MAX_HEADER_BYTES, parseHeader, readHeaderLength, toFloat32, type TensorTable } from './safetensors.ts';

const FILE = 'model.safetensors';

function parse(header: string, dataBytes: number): TensorTable {
  const bytes = new TextEncoder().encode(header);
  return parseHeader(bytes, 8 + bytes.byteLength + dataBytes, FILE);
}

function refusal(action: () => unknown): {
  reason: CheckpointErrorReason;
  tensor: string | undefined;
  message: string;
} {
  try {
    action();
  } catch (error) {
    if (error instanceof CheckpointError) return error;
    throw error;
  }
  throw new Error('was accepted');
}

const entry = (dtype: string, shape: unknown, begin: unknown, end: unknown) => ({
  dtype,
  shape,
  data_offsets: [begin, end],
});

describe('parseHeader', () => {
  it('reads dtype, shape and place in the file', () => {
    const header = JSON.stringify({
      __metadata__: { format: 'pt' },
      b: entry('BF16', [2, 3], 4, 16),
      a: entry('F32', [], 0, 4),
      none: entry('F16', [0, 5], 16, 16),
    });
    const table = parse(header, 12 + 4);
    expect(table.get('b')).toEqual({ dtype: 'BF16', shape: [2, 3], bytes: 12, offset: 8 + header.length + 4 });
    expect(table.get('a')).toMatchObject({ shape: [], bytes: 4 });
    expect([...table.keys()].sort()).toEqual(['a', 'b', 'none']);
  });

  it('accepts any layout without gaps, in any order of the header', () => {
    const sizes = fc.uniqueArray(fc.record({ name: fc.string(), size: fc.nat(50) }), {
      selector: (t) => t.name,
      maxLength: 12,
    });
    fc.assert(
      fc.property(sizes, (tensors) => {
        const named = tensors.filter((tensor) => tensor.name !== '__metadata__' && tensor.name !== '__proto__');
        let at = 0;
        const entries = named.map(({ name, size }) => {
          const begin = at;
          at += size * 2;
          return [name, entry('F16', [size], begin, at)] as const;
        });
        const table = parse(JSON.stringify(Object.fromEntries(entries.reverse())), at);
        expect(table.size).toBe(named.length);
      }),
    );
  });

  it.each<[CheckpointErrorReason, string | undefined, string, number]>([
    ['bad-header', undefined, '{"a":', 0],
    ['bad-header', undefined, '[]', 0],
    ['bad-header', undefined, 'null', 0],
    ['bad-header', 'a', '{"a":null}', 0],
    ['bad-header', 'a', JSON.stringify({ a: entry('F32', [-1], 0, 4) }), 4],
    ['bad-header', 'a', JSON.stringify({ a: entry('F32', [1.5], 0, 4) }), 4],
    ['bad-header', 'a', JSON.stringify({ a: entry('F32', 'x', 0, 4) }), 4],
    ['bad-header', 'a', JSON.stringify({ a: entry('F32', [1, 1, 1, 1, 1, 1, 1, 1, 1], 0, 4) }), 4],
    ['bad-header', 'a', JSON.stringify({ a: entry('F32', [1], -4, 0) }), 4],
    ['bad-header', 'a', JSON.stringify({ a: entry('F32', [1], 0, 2 ** 60) }), 4],
    ['bad-header', 'a', JSON.stringify({ a: { dtype: 'F32', shape: [1], data_offsets: [0, 2, 4] } }), 4],
    ['bad-header', 'a', JSON.stringify({ a: { dtype: 'F32', shape: [1] } }), 4],
    ['wrong-dtype', 'a', JSON.stringify({ a: entry('F4', [4], 0, 4) }), 4],
    ['wrong-dtype', 'a', JSON.stringify({ a: entry('constructor', [1], 0, 4) }), 4],
    ['out-of-range', 'a', JSON.stringify({ a: entry('F32', [2], 0, 8) }), 4],
    ['out-of-range', 'a', JSON.stringify({ a: entry('F32', [1], 4, 0) }), 4],
    ['wrong-size', 'a', JSON.stringify({ a: entry('F32', [2], 0, 4) }), 4],
    ['wrong-size', 'a', JSON.stringify({ a: entry('F32', [2 ** 30, 2 ** 30], 0, 4) }), 4],
    ['overlap', 'b', JSON.stringify({ a: entry('F32', [2], 0, 8), b: entry('F32', [2], 4, 12) }), 12],
    ['overlap', 'b', JSON.stringify({ a: entry('F32', [1], 0, 4), b: entry('F32', [1], 0, 4) }), 4],
    ['gap', 'b', JSON.stringify({ a: entry('F32', [1], 0, 4), b: entry('F32', [1], 8, 12) }), 12],
    ['gap', 'a', JSON.stringify({ a: entry('F32', [1], 4, 8) }), 8],
    ['gap', undefined, JSON.stringify({ a: entry('F32', [1], 0, 4) }), 8],
    [
      'duplicate',
      'a',
      `{"a":${JSON.stringify(entry('F32', [1], 0, 4))},"a":${JSON.stringify(entry('F32', [1], 0, 4))}}`,
      4,
    ],
    [
      'duplicate',
      'a',
      `{"a":${JSON.stringify(entry('F32', [1], 0, 4))},"\\u0061":${JSON.stringify(entry('F32', [1], 0, 4))}}`,
      4,
    ],
  ])('refuses (%s, tensor %s) %s over %i data bytes', (reason, tensor, header, dataBytes) => {
    const error = refusal(() => parse(header, dataBytes));
    expect(error).toMatchObject({ reason, tensor });
    expect(error.message).toContain(FILE);
    if (tensor !== undefined) expect(error.message).toContain(tensor);
  });

  it('is not confused by names that look like JSON', () => {
    const name = 'a":{"b\\';
    const header = JSON.stringify({ [name]: entry('F32', [1], 0, 4), b: entry('F32', [1], 4, 8) });
    expect([...parse(header, 8).keys()]).toEqual([name, 'b']);
  });

  it('refuses a header that is not UTF-8', () => {
    expect(refusal(() => parseHeader(Uint8Array.of(0x7b, 0xff, 0x7d), 11, FILE))).toMatchObject({
      reason: 'bad-header',
    });
  });

  it('answers any bytes with a table or a CheckpointError', () => {
    fc.assert(
      fc.property(fc.oneof(fc.json(), fc.string()), fc.nat(64), (header, dataBytes) => {
        try {
          parse(header, dataBytes);
        } catch (error) {
          expect(error).toBeInstanceOf(CheckpointError);
        }
      }),
    );
  });
});

describe('readHeaderLength', () => {
  const prefix = (length: bigint) => new Uint8Array(BigUint64Array.of(length).buffer);

  it('reads the length', () => expect(readHeaderLength(prefix(100n), 200, FILE)).toBe(100));

  it.each<[CheckpointErrorReason, Uint8Array, number]>([
    ['truncated', new Uint8Array(3), 3],
    ['truncated', prefix(100n), 107],
    ['header-too-large', prefix(BigInt(MAX_HEADER_BYTES) + 1n), 2 ** 40],
    ['header-too-large', prefix(2n ** 64n - 1n), 2 ** 40],
  ])('refuses (%s)', (reason, bytes, fileBytes) => {
    expect(refusal(() => readHeaderLength(bytes, fileBytes, FILE))).toMatchObject({ reason });
  });
});

describe('toFloat32', () => {
  const values = [0, -0, 1, -2.5, 65504, 2 ** -24, Number.POSITIVE_INFINITY];

  it.each([0, 1])('converts all dtypes, at byte offset %i', (shift) => {
    const at = (source: ArrayBufferView) => {
      const bytes = new Uint8Array(source.byteLength + shift);
      bytes.set(new Uint8Array(source.buffer, source.byteOffset, source.byteLength), shift);
      return bytes.subarray(shift);
    };
    const f32 = Float32Array.from(values);
    const bf16 = Uint16Array.from(new Uint32Array(f32.buffer), (bits) => bits >>> 16);
    const rounded = new Float32Array(Uint32Array.from(bf16, (bits) => bits << 16).buffer);
    expect(toFloat32(at(f32), 'F32')).toEqual(f32);
    expect(toFloat32(at(Uint16Array.from(values, f32ToF16)), 'F16')).toEqual(f32);
    expect(toFloat32(at(bf16), 'BF16')).toEqual(rounded);
  });
});
