import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readRows } from '@shoal/model';
import { type FixtureName, fixtureBytes, fixtures } from './testing/fixtures.ts';
import { append, decoders, type Edit, f32, hostile, kind, outcome, u16 } from './testing/hostile.ts';
import {
  decodeCombine,
  decodeDispatch,
  decodeRefuse,
  encodeCombine,
  encodeDispatch,
  encodeRefuse,
  isOlderEpoch,
  itemRows,
  MAX_LAP_ID,
  ROW_FORMATS,
  roundedRows,
  type DispatchFrame,
  type FrameErrorReason,
  type LapRefusal,
} from './index.ts';
import { lapRefusals } from './frames/refuse.ts';
import { MAX_ASSIGNMENTS_PER_LAP, MAX_FRAME_BYTES, MAX_ROWS_PER_LAP } from './limits.ts';

describe('a hostile dispatch with adapters', () => {
  it.each<[string, FrameErrorReason, Edit]>([
    ['without the bit that says so', 'oversized', u16(10, 3)],
    ['with more assignments than a lap may have', 'bad-count', u16(10, 0x8000 | (MAX_ASSIGNMENTS_PER_LAP + 1))],
    ['without assignments', 'bad-count', u16(10, 0x8000)],
    ['without adapters', 'bad-count', u16(12, 0)],
    ['with more adapters than entries', 'bad-count', u16(12, 4)],
    ['without entries', 'bad-count', u16(14, 0)],
    ['with entries that are not there', 'truncated', u16(14, 9)],
    ['with two scales of an entry', 'bad-count', (bytes) => void (bytes[16] = 2)],
    ['without its scales', 'oversized', (bytes) => void (bytes[16] = 0)],
    ['with padding that is not 0', 'bad-padding', (bytes) => void (bytes[17] = 1)],
    ['with a scale of NaN', 'not-finite', f32(60, Number.NaN)],
    ['with lists that descend', 'bad-order', u16(96, 2)],
    ['with lists beyond the entries', 'bad-order', u16(100, 4)],
    ['with lists that leave entries over', 'bad-order', u16(100, 2)],
    ['with an adapter beyond its own', 'bad-order', u16(106, 2)],
    ['with something behind it', 'oversized', append],
  ])('%s is refused as %s', (_, reason, edit) => {
    expect(hostile('dispatch-adapters', edit)).toBe(reason);
  });

  it('is not written from an item whose adapters have no numbers', () => {
    const frame = decodeDispatch(fixtureBytes(fixtures['dispatch-adapters']), { hiddenSize: 3 });
    const adapters = {
      ends: Uint32Array.of(1, 1, 1),
      of: Uint32Array.of(0),
      scales: Float32Array.of(1, 1, 1),
      experts: [{}],
    };
    expect(outcome(() => encodeDispatch({ ...frame, adapterNumbers: undefined, adapters }))).toBe('bad-count');
  });
});

describe('a hostile dispatch', () => {
  it.each<[string, FrameErrorReason, Edit]>([
    ['version 0', 'bad-version', kind(0x00)],
    ['version 1, whose frames begin with SH', 'bad-version', u16(0, 0x4853)],
    ['version 2', 'bad-version', kind(0x20)],
    ['version 4', 'bad-version', kind(0x80)],
    ['the type of a combine', 'bad-type', kind(0x61)],
    ['the type of a cancel', 'bad-type', kind(0x63)],
    ['no rows', 'bad-count', u16(8, 0)],
    ['more rows than a lap may have', 'bad-count', u16(8, MAX_ROWS_PER_LAP + 1)],
    ['as many rows as fit the field', 'bad-count', u16(8, 0xffff)],
    ['rows that are not there', 'truncated', u16(8, 3)],
    ['fewer rows than there are', 'oversized', u16(8, 1)],
    ['no assignments', 'bad-count', u16(10, 0)],
    ['more assignments than a lap may have', 'bad-count', u16(10, MAX_ASSIGNMENTS_PER_LAP + 1)],
    ['assignments that are not there', 'truncated', u16(10, 4)],
    ['fewer assignments than there are', 'oversized', u16(10, 2)],
    ['the format of rows that these are not', 'oversized', kind(0x64)],
    ['the width of experts that these have not', 'truncated', kind(0x68)],
    ['exponents that are not there', 'truncated', kind(0x70)],
    ['a row that is NaN', 'not-finite', u16(12, 0x7e00)],
    ['a row that is ∞', 'not-finite', u16(12, 0x7c00)],
    ['a row that is −∞', 'not-finite', u16(22, 0xfc00)],
    ['a weight that is NaN', 'not-finite', f32(24, Number.NaN)],
    ['a weight that is −∞', 'not-finite', f32(32, Number.NEGATIVE_INFINITY)],
    ['rowEnd descending', 'bad-order', u16(36, 4)],
    ['rowEnd short of the assignments', 'bad-order', u16(38, 2)],
    ['rowEnd beyond the assignments', 'bad-order', u16(38, 9)],
    ['a byte behind it', 'oversized', append],
  ])('with %s is %s', (_, reason, edit) => {
    expect(hostile('dispatch', edit)).toBe(reason);
  });

  it.each([
    [2, 'truncated'],
    [4, 'oversized'],
  ])('of a hidden size other than the model’s 3, %s, is %s', (hiddenSize, reason) => {
    const rows = new Uint16Array(2 * hiddenSize);
    const bytes = encodeDispatch({ ...someDispatch(), hiddenSize, rows });
    expect(outcome(() => decoders.dispatch!(bytes))).toBe(reason);
  });

  it('with padding that is not 0 is bad-padding', () => {
    const frame: DispatchFrame = {
      ...someDispatch(),
      numRows: 1,
      rows: Uint16Array.of(1, 2, 3),
      rowEnd: Uint16Array.of(3),
    };
    const bytes = encodeDispatch(frame);
    bytes[12 + 6] = 1;
    expect(outcome(() => decoders.dispatch!(bytes))).toBe('bad-padding');
  });
});

describe('a hostile dispatch with experts in two bytes', () => {
  it.each<[string, FrameErrorReason, Edit]>([
    ['the width of experts that these have not', 'oversized', kind(0x60)],
    ['assignments that are not there', 'truncated', u16(10, 3)],
    ['half an expert', 'truncated', (bytes) => bytes.slice(0, -1)],
    ['a byte behind it', 'oversized', append],
  ])('with %s is %s', (_, reason, edit) => {
    expect(hostile('dispatch-wide', edit)).toBe(reason);
  });
});

describe('a hostile combine', () => {
  it.each<[string, FrameErrorReason, Edit]>([
    ['a row more than the lap', 'oversized', (bytes) => Uint8Array.of(...bytes, ...bytes.slice(8))],
    ['no rows', 'truncated', (bytes) => bytes.slice(0, 8)],
    ['a hidden size less', 'truncated', (bytes) => bytes.slice(0, -2)],
    ['a format that the lap did not ask for', 'mismatch', kind(0x65)],
    ['a format that combines have not', 'bad-code', kind(0x69)],
    ['a sum that is NaN', 'not-finite', u16(10, 0x7fff)],
    ['a sum that is ∞', 'not-finite', u16(12, 0x7c00)],
    ['the type of a dispatch', 'bad-type', kind(0x60)],
    ['version 1', 'bad-version', kind(0x11)],
    ['exponents that are not there', 'truncated', kind(0x71)],
    ['a byte behind it', 'oversized', append],
  ])('with %s is %s', (_, reason, edit) => {
    expect(hostile('combine', edit)).toBe(reason);
  });
});

describe('a hostile dispatch in int8', () => {
  it.each<[string, FrameErrorReason, Edit]>([
    ['the format of rows that these are not', 'truncated', kind(0x60)],
    ['rows that are not there', 'truncated', u16(8, 4)],
    ['fewer rows than there are', 'oversized', u16(8, 1)],
    ['assignments that are not there', 'truncated', u16(10, 4)],
    ['the code -128', 'bad-code', (bytes) => void (bytes[12] = 0x80)],
    ['a scale of ∞', 'not-finite', (bytes) => void (bytes[18] = 0xf8)],
    ['a scale that is NaN', 'not-finite', (bytes) => void (bytes[19] = 0xff)],
    ['a value beyond f16', 'not-finite', (bytes) => void (bytes[19] = 0xc2)],
    ['a weight that is NaN', 'not-finite', f32(20, Number.NaN)],
    ['rowEnd descending', 'bad-order', u16(32, 4)],
    ['a byte behind it', 'oversized', append],
  ])('with %s is %s', (_, reason, edit) => {
    expect(hostile('dispatch-int8', edit)).toBe(reason);
  });
});

describe('a hostile combine in int8', () => {
  it.each<[string, FrameErrorReason, Edit]>([
    ['a format that the lap did not ask for', 'mismatch', kind(0x61)],
    ['a row more than the lap', 'oversized', (bytes) => Uint8Array.of(...bytes, ...bytes.slice(8))],
    ['the code -128', 'bad-code', (bytes) => void (bytes[9] = 0x80)],
    ['a scale of ∞', 'not-finite', (bytes) => void (bytes[11] = 0xf8)],
    ['a value beyond f16', 'not-finite', (bytes) => void (bytes[11] = 0xf7)],
    ['a byte behind it', 'oversized', append],
  ])('with %s is %s', (_, reason, edit) => {
    expect(hostile('combine-int8', edit)).toBe(reason);
  });
});

describe('a hostile refuse', () => {
  it.each<[string, FrameErrorReason, Edit]>([
    ['code 0', 'bad-code', (bytes) => void (bytes[4] = 0)],
    ['an unknown code', 'bad-code', (bytes) => void (bytes[4] = 99)],
    ['a format', 'bad-code', kind(0x66)],
    ['a byte behind it', 'oversized', append],
  ])('with %s is %s', (_, reason, edit) => {
    expect(hostile('refuse', edit)).toBe(reason);
  });
});

describe('a hostile cancel', () => {
  it.each<[string, FrameErrorReason, Edit]>([
    ['a format', 'bad-code', kind(0x6f)],
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
    // A header that promises a full lap, ten thousand times: 1.2 GB if it were believed.
    const bytes = fixtureBytes(fixtures.dispatch);
    const view = new DataView(bytes.buffer);
    view.setUint16(8, MAX_ROWS_PER_LAP, true);
    view.setUint16(10, MAX_ASSIGNMENTS_PER_LAP, true);
    const before = process.memoryUsage().arrayBuffers;
    for (let i = 0; i < 10_000; i++) outcome(() => decodeDispatch(bytes, { hiddenSize: 3 }));
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1024 * 1024);
  });
});

describe('honest frames', () => {
  it('decode to what was encoded, whatever the shape', () => {
    fc.assert(
      fc.property(arbitraryDispatch, (frame) => {
        const { lapId, numRows, hiddenSize, rowFormat } = frame;
        const decoded = decodeDispatch(encodeDispatch(frame), { hiddenSize });
        const values = readRows(frame, hiddenSize);
        const { int8: _, ...rounded } = itemRows(rowFormat, values, hiddenSize);
        const { rows: __, exponents: ___, ...rest } = frame;
        // What fits f16 is sent without the exponent that it was given.
        expect(decoded).toEqual({ ...rest, ...(rowFormat === 'f16' ? rowsOf(frame) : rounded) });
        const times = { queueUs: frame.epoch % 8192, computeUs: 0 };
        const combine = { lapId, numRows, hiddenSize, rowFormat, ...times, partial: values };
        const expected = { numRows, hiddenSize, rowFormat };
        const partial = roundedRows(rowFormat, values, hiddenSize);
        expect(decodeCombine(encodeCombine(combine), expected)).toEqual({ ...combine, partial });
      }),
    );
  });

  it.each(Object.keys(lapRefusals) as LapRefusal[])('refuse with %s', (reason) => {
    expect(decodeRefuse(encodeRefuse({ lapId: 1, reason }))).toEqual({ lapId: 1, reason });
  });
});

describe('encoders', () => {
  it('say of an epoch its lowest 16 bits', () => {
    const bytes = encodeDispatch({ ...someDispatch(), epoch: 0x7_1234 });
    expect(decodeDispatch(bytes, { hiddenSize: 3 }).epoch).toBe(0x1234);
  });

  it('give experts a byte each while that is enough', () => {
    const bytesFor = (expert: number) => encodeDispatch({ ...someDispatch(), experts: Uint16Array.of(0, 1, expert) });
    expect(bytesFor(256).byteLength - bytesFor(255).byteLength).toBe(3);
  });
});

describe('times in a combine', () => {
  const sent = (us: number) => {
    const frame = { lapId: 1, numRows: 1, hiddenSize: 1, queueUs: us, computeUs: 0, partial: Float32Array.of(0) };
    return decodeCombine(encodeCombine(frame), { numRows: 1, hiddenSize: 1 }).queueUs;
  };

  it('are whole microseconds up to 8.191 ms, and end at 134 s', () => {
    for (let us = 0; us < 8192; us++) expect(sent(us)).toBe(us);
    expect(sent(134_201_344)).toBe(134_201_344);
    expect(sent(134_201_345)).toBe(134_201_344);
    expect(sent(Number.POSITIVE_INFINITY)).toBe(134_201_344);
  });

  it('are else within 1 in 8,192, and keep their order', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 134e6, noNaN: true }),
        fc.double({ min: 0, max: 134e6, noNaN: true }),
        (a, b) => {
          expect(Math.abs(sent(a) - a)).toBeLessThanOrEqual(Math.max(0.5, a / 8192));
          expect(sent(sent(a))).toBe(sent(a));
          if (a <= b) expect(sent(a)).toBeLessThanOrEqual(sent(b));
        },
      ),
      { numRuns: 5000 },
    );
  });

  it.each([-1, Number.NaN])('of %s are refused', (us) => expect(outcome(() => sent(us))).toBe('bad-count'));
});

describe('epochs in frames', () => {
  it.each([
    [4, 5, true],
    [5, 5, false],
    [6, 5, false],
    [0xffff, 0x3_0002, true],
    [2, 0x3_0002, false],
    [3, 0x2_ffff, false],
    [0x8001, 0x3_0002, false],
    [0x8002, 0x3_0002, true],
  ])('%s is from before %s: %s', (fromFrame, current, older) => expect(isOlderEpoch(fromFrame, current)).toBe(older));
});

describe('encoders refuse what a decoder would', () => {
  it.each<[string, FrameErrorReason, Partial<DispatchFrame>]>([
    ['an array of another length', 'bad-count', { rows: new Uint16Array(5) }],
    ['a lap id beyond 24 bits', 'bad-count', { lapId: 2 ** 24 }],
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

const rowsOf = ({ rows, exponents }: DispatchFrame) => ({
  rows,
  ...(exponents?.some((exponent) => exponent > 0) && { exponents }),
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
      lapId: fc.integer({ min: 0, max: MAX_LAP_ID }),
      epoch: fc.integer({ min: 0, max: 0xffff }),
      layer: fc.integer({ min: 0, max: 0xffff }),
      numRows: fc.constant(numRows),
      hiddenSize: fc.constant(hiddenSize),
      rowFormat: fc.constantFrom(...ROW_FORMATS),
      rows: arrayOf(finiteF16, numRows * hiddenSize).map((values) => Uint16Array.from(values)),
      exponents: arrayOf(fc.constantFrom(0, 0, 1, 20, 112), numRows).map((values) => Uint8Array.from(values)),
      weights: arrayOf(finiteF32, numAssignments).map((values) => Float32Array.from(values)),
      experts: fc
        .constantFrom(0xff, 0xffff)
        .chain((max) => arrayOf(fc.integer({ min: 0, max }), numAssignments))
        .map((values) => Uint16Array.from(values)),
      rowEnd: arrayOf(fc.integer({ min: 0, max: numAssignments }), numRows - 1).map((values) =>
        Uint16Array.from([...values.sort((a, b) => a - b), numAssignments]),
      ),
    }),
  );

function arrayOf<T>(item: fc.Arbitrary<T>, length: number): fc.Arbitrary<T[]> {
  return fc.array(item, { minLength: length, maxLength: length });
}
