import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeF16 } from '@shoal/model';
import { type FixtureName, fixtureBytes, fixtures } from './fixtures.ts';
import {
  FrameError,
  decodeCancel,
  decodeCombine,
  decodeDispatch,
  decodeRefuse,
  encodeCombine,
  encodeDispatch,
  encodeRefuse,
  lapRefusals,
  peekFrame,
  ROW_FORMATS,
  roundRows,
  type DispatchFrame,
  type FrameErrorReason,
  type LapRefusal,
} from './frames/index.ts';
import { MAX_FRAME_BYTES, MAX_ROWS_PER_LAP } from './limits.ts';

const decoders: Record<string, (bytes: Uint8Array) => unknown> = {
  peek: peekFrame,
  dispatch: (bytes) => decodeDispatch(bytes, { hiddenSize: 3 }),
  'dispatch-int8': (bytes) => decodeDispatch(bytes, { hiddenSize: 3 }),
  combine: (bytes) => decodeCombine(bytes, { hiddenSize: 3, numRows: 1, layer: 1 }),
  'combine-int8': (bytes) => decodeCombine(bytes, { hiddenSize: 3, numRows: 1, layer: 1, rowFormat: 'int8' }),
  refuse: decodeRefuse,
  cancel: decodeCancel,
};

/** The reason of the FrameError; anything else that is thrown fails the test, and nothing thrown is `decoded`. */
function outcome(run: () => unknown): FrameErrorReason | 'decoded' {
  try {
    run();
    return 'decoded';
  } catch (error) {
    if (error instanceof FrameError) return error.reason;
    throw error;
  }
}

type Edit = (bytes: Uint8Array, view: DataView) => Uint8Array | void;

/** A fixture's bytes after an edit, decoded. */
function hostile(name: keyof typeof fixtures, edit: Edit): FrameErrorReason | 'decoded' {
  const bytes = fixtureBytes(fixtures[name]);
  const edited = edit(bytes, new DataView(bytes.buffer)) ?? bytes;
  return outcome(() => decoders[name]!(edited));
}

const u16 =
  (at: number, value: number): Edit =>
  (_, view) =>
    view.setUint16(at, value, true);
const u32 =
  (at: number, value: number): Edit =>
  (_, view) =>
    view.setUint32(at, value, true);
const f32 =
  (at: number, value: number): Edit =>
  (_, view) =>
    view.setFloat32(at, value, true);
const append: Edit = (bytes) => Uint8Array.of(...bytes, 0);

describe('a hostile dispatch', () => {
  it.each<[string, FrameErrorReason, Edit]>([
    ['wrong magic', 'bad-magic', u16(0, 0x4854)],
    ['version 0', 'bad-version', (bytes) => void (bytes[2] = 0)],
    ['version 2', 'bad-version', (bytes) => void (bytes[2] = 2)],
    ['the type of a combine', 'bad-type', (bytes) => void (bytes[3] = 2)],
    ['an unknown type', 'bad-type', (bytes) => void (bytes[3] = 200)],
    ['no rows', 'bad-count', u16(14, 0)],
    ['more rows than a lap may have', 'bad-count', u16(14, MAX_ROWS_PER_LAP + 1)],
    ['as many rows as fit the field', 'bad-count', u16(14, 0xffff)],
    ['rows that are not there', 'truncated', u16(14, 3)],
    ['fewer rows than there are', 'oversized', u16(14, 1)],
    ['no assignments', 'bad-count', u32(16, 0)],
    ['assignments that are not there', 'truncated', u32(16, 4)],
    ['four billion assignments', 'bad-count', u32(16, 0xffff_ffff)],
    ['another hidden size', 'mismatch', u16(20, 4)],
    ['a hidden size of 0', 'bad-count', u16(20, 0)],
    ['a hidden size beyond the limit', 'bad-count', u16(20, 0xffff)],
    ['an unknown format of rows', 'bad-code', u16(22, 2)],
    ['the format of rows that these are not', 'oversized', u16(22, 1)],
    ['a row that is NaN', 'not-finite', u16(24, 0x7e00)],
    ['a row that is ∞', 'not-finite', u16(24, 0x7c00)],
    ['a row that is −∞', 'not-finite', u16(34, 0xfc00)],
    ['a weight that is NaN', 'not-finite', f32(36, Number.NaN)],
    ['a weight that is −∞', 'not-finite', f32(44, Number.NEGATIVE_INFINITY)],
    ['rowEnd descending', 'bad-order', u16(48, 4)],
    ['rowEnd short of the assignments', 'bad-order', u16(50, 2)],
    ['rowEnd beyond the assignments', 'bad-order', u16(50, 9)],
    ['a byte behind it', 'oversized', append],
  ])('with %s is %s', (_, reason, edit) => {
    expect(hostile('dispatch', edit)).toBe(reason);
  });

  it('with padding that is not 0 is bad-padding', () => {
    const frame: DispatchFrame = {
      ...someDispatch(),
      numRows: 1,
      rows: Uint16Array.of(1, 2, 3),
      rowEnd: Uint16Array.of(3),
    };
    const bytes = encodeDispatch(frame);
    bytes[24 + 6] = 1;
    expect(outcome(() => decoders.dispatch!(bytes))).toBe('bad-padding');
  });
});

describe('a hostile combine', () => {
  it.each<[string, FrameErrorReason, Edit]>([
    ['another layer than the lap', 'mismatch', u16(8, 2)],
    ['more rows than the lap', 'mismatch', u16(10, 2)],
    ['no rows', 'bad-count', u16(10, 0)],
    ['another hidden size', 'mismatch', u16(12, 2)],
    ['a hidden size beyond the limit', 'bad-count', u16(12, 0xffff)],
    ['an unknown format of rows', 'bad-code', u16(14, 9)],
    ['a format that the lap did not ask for', 'mismatch', u16(14, 1)],
    ['a sum that is NaN', 'not-finite', u16(26, 0x7fff)],
    ['a sum that is ∞', 'not-finite', u16(28, 0x7c00)],
    ['the type of a dispatch', 'bad-type', (bytes) => void (bytes[3] = 1)],
    ['a byte behind it', 'oversized', append],
  ])('with %s is %s', (_, reason, edit) => {
    expect(hostile('combine', edit)).toBe(reason);
  });
});

describe('a hostile dispatch in int8', () => {
  it.each<[string, FrameErrorReason, Edit]>([
    ['the format of rows that these are not', 'truncated', u16(22, 0)],
    ['rows that are not there', 'truncated', u16(14, 4)],
    ['fewer rows than there are', 'oversized', u16(14, 1)],
    ['another hidden size', 'mismatch', u16(20, 4)],
    ['the code -128', 'bad-code', (bytes) => void (bytes[24] = 0x80)],
    ['a scale of ∞', 'not-finite', (bytes) => void (bytes[30] = 0xf8)],
    ['a scale that is NaN', 'not-finite', (bytes) => void (bytes[31] = 0xff)],
    ['a value beyond f16', 'not-finite', (bytes) => void (bytes[31] = 0xc2)],
    ['a weight that is NaN', 'not-finite', f32(32, Number.NaN)],
    ['rowEnd descending', 'bad-order', u16(44, 4)],
    ['a byte behind it', 'oversized', append],
  ])('with %s is %s', (_, reason, edit) => {
    expect(hostile('dispatch-int8', edit)).toBe(reason);
  });
});

describe('a hostile combine in int8', () => {
  it.each<[string, FrameErrorReason, Edit]>([
    ['a format that the lap did not ask for', 'mismatch', u16(14, 0)],
    ['an unknown format of rows', 'bad-code', u16(14, 7)],
    ['another layer than the lap', 'mismatch', u16(8, 2)],
    ['more rows than the lap', 'mismatch', u16(10, 2)],
    ['the code -128', 'bad-code', (bytes) => void (bytes[25] = 0x80)],
    ['a scale of ∞', 'not-finite', (bytes) => void (bytes[27] = 0xf8)],
    ['a value beyond f16', 'not-finite', (bytes) => void (bytes[27] = 0xf7)],
    ['a byte behind it', 'oversized', append],
  ])('with %s is %s', (_, reason, edit) => {
    expect(hostile('combine-int8', edit)).toBe(reason);
  });
});

describe('a hostile refuse', () => {
  it.each<[string, FrameErrorReason, Edit]>([
    ['code 0', 'bad-code', u16(8, 0)],
    ['an unknown code', 'bad-code', u16(8, 999)],
    ['a reserved field that is not 0', 'bad-padding', u16(10, 1)],
    ['a byte behind it', 'oversized', append],
  ])('with %s is %s', (_, reason, edit) => {
    expect(hostile('refuse', edit)).toBe(reason);
  });
});

describe('a hostile cancel', () => {
  it.each<[string, FrameErrorReason, Edit]>([
    ['a reserved field that is not 0', 'bad-padding', u32(8, 1)],
    ['a byte behind it', 'oversized', append],
  ])('with %s is %s', (_, reason, edit) => {
    expect(hostile('cancel', edit)).toBe(reason);
  });
});

describe('every decoder', () => {
  it.each(Object.keys(fixtures) as FixtureName[])('finds a %s truncated at every length', (name) => {
    const bytes = fixtureBytes(fixtures[name]);
    for (let length = 0; length < bytes.length; length++) {
      expect(outcome(() => decoders[name]!(bytes.slice(0, length)))).toBe('truncated');
    }
  });

  it('finds a frame over the limit oversized before it reads a count', () => {
    const bytes = new Uint8Array(MAX_FRAME_BYTES + 1);
    for (const decode of Object.values(decoders)) expect(outcome(() => decode(bytes))).toBe('oversized');
  });

  it('throws nothing but a FrameError, whatever the bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        for (const decode of Object.values(decoders)) outcome(() => decode(bytes));
      }),
      { numRuns: 2000 },
    );
  });

  it('throws nothing but a FrameError, whatever is changed in a good frame', () => {
    const edits = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(
        fc.constantFrom(...(Object.keys(fixtures) as FixtureName[])),
        edits,
        fc.nat(),
        (name, edits, shift) => {
          const good = fixtureBytes(fixtures[name]);
          // Shifted, so that copies for alignment are hit as well.
          const bytes = new Uint8Array(good.length + (shift % 4)).subarray(shift % 4);
          bytes.set(good);
          for (const [at, value] of edits) bytes[at % bytes.length] = value;
          for (const decode of Object.values(decoders)) outcome(() => decode(bytes));
        },
      ),
      { numRuns: 5000 },
    );
  });

  it('allocates nothing for a count that lies', () => {
    // A header that promises a full lap of rows as wide as they may be, a million times: 8 TB if it were believed.
    const bytes = fixtureBytes(fixtures.dispatch);
    const view = new DataView(bytes.buffer);
    view.setUint16(14, MAX_ROWS_PER_LAP, true);
    view.setUint32(16, 16_384, true);
    const before = process.memoryUsage().arrayBuffers;
    for (let i = 0; i < 10_000; i++) outcome(() => decodeDispatch(bytes, { hiddenSize: 3 }));
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1024 * 1024);
  });
});

describe('honest frames', () => {
  it('decode to what was encoded, whatever the shape', () => {
    fc.assert(
      fc.property(arbitraryDispatch, (frame) => {
        const { lapId, layer, numRows, hiddenSize, rowFormat } = frame;
        const decoded = decodeDispatch(encodeDispatch(frame), { hiddenSize });
        const partial = roundRows(rowFormat, decodeF16(frame.rows), hiddenSize);
        expect(decoded).toEqual({ ...frame, rows: rowFormat === 'f16' ? frame.rows : partial });
        const combine = {
          lapId,
          layer,
          numRows,
          hiddenSize,
          rowFormat,
          queueUs: lapId,
          computeUs: 0,
          partial: frame.rows,
        };
        const expected = { layer, numRows, hiddenSize, rowFormat };
        expect(decodeCombine(encodeCombine(combine), expected)).toEqual({ ...combine, partial: decoded.rows });
      }),
    );
  });

  it.each(Object.keys(lapRefusals) as LapRefusal[])('refuse with %s', (reason) => {
    expect(decodeRefuse(encodeRefuse({ lapId: 1, reason }))).toEqual({ lapId: 1, reason });
  });
});

describe('encoders refuse what a decoder would', () => {
  it.each<[string, FrameErrorReason, Partial<DispatchFrame>]>([
    ['an array of another length', 'bad-count', { rows: new Uint16Array(5) }],
    ['a lap id beyond 32 bits', 'bad-count', { lapId: 2 ** 32 }],
    ['a negative layer', 'bad-count', { layer: -1 }],
    ['a row that is not finite', 'not-finite', { rows: new Uint16Array(6).fill(0x7c00) }],
    ['rowEnd descending', 'bad-order', { rowEnd: Uint16Array.of(3, 1) }],
    ['no rows', 'bad-count', { numRows: 0, rows: new Uint16Array(0), rowEnd: new Uint16Array(0) }],
  ])('%s: %s', (_, reason, change) => {
    expect(outcome(() => encodeDispatch({ ...someDispatch(), ...change }))).toBe(reason);
  });

  it('a frame over the limit: oversized', () => {
    const hiddenSize = 16_384;
    const rows = new Uint16Array(MAX_ROWS_PER_LAP * hiddenSize);
    const rowEnd = new Uint16Array(MAX_ROWS_PER_LAP).fill(3);
    const frame = { ...someDispatch(), numRows: MAX_ROWS_PER_LAP, hiddenSize, rows, rowEnd };
    expect(outcome(() => encodeDispatch(frame))).toBe('oversized');
  });
});

function someDispatch(): DispatchFrame {
  return decodeDispatch(fixtureBytes(fixtures.dispatch), { hiddenSize: 3 });
}

const finiteF16 = fc
  .integer({ min: 0, max: 0xffff })
  .map((bits) => ((bits & 0x7c00) === 0x7c00 ? bits & 0x83ff : bits));
const finiteF32 = fc.float({ noNaN: true, noDefaultInfinity: true });

const arbitraryDispatch: fc.Arbitrary<DispatchFrame> = fc
  .tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 30 }))
  .chain(([numRows, hiddenSize, numAssignments]) =>
    fc.record({
      lapId: fc.integer({ min: 0, max: 0xffff_ffff }),
      epoch: fc.integer({ min: 0, max: 0xffff_ffff }),
      layer: fc.integer({ min: 0, max: 0xffff }),
      numRows: fc.constant(numRows),
      hiddenSize: fc.constant(hiddenSize),
      rowFormat: fc.constantFrom(...ROW_FORMATS),
      rows: arrayOf(finiteF16, numRows * hiddenSize).map((values) => Uint16Array.from(values)),
      weights: arrayOf(finiteF32, numAssignments).map((values) => Float32Array.from(values)),
      experts: arrayOf(fc.integer({ min: 0, max: 0xffff }), numAssignments).map((values) => Uint16Array.from(values)),
      rowEnd: arrayOf(fc.integer({ min: 0, max: numAssignments }), numRows - 1).map((values) =>
        Uint16Array.from([...values.sort((a, b) => a - b), numAssignments]),
      ),
    }),
  );

function arrayOf<T>(item: fc.Arbitrary<T>, length: number): fc.Arbitrary<T[]> {
  return fc.array(item, { minLength: length, maxLength: length });
}
