import { MAX_FRAME_BYTES } from '../limits.ts';
import { PROTOCOL_VERSION } from '../version.ts';
import { FrameError } from './error.ts';
import { frameTypes, type FrameType } from './types.ts';

const scalarBytes = { u8: 1, u16: 2, u24: 3 } as const;
const elementBytes = { i8: 1, u8: 1, u16: 2, f16: 2, u32: 4, f32: 4 } as const;
/** Block size of dimensions that are counted in blocks. */
export const BLOCK = 32;
/** Arrays are viewed in place, so the frame must be aligned to the widest element. */
const FRAME_ALIGNMENT = 4;

type Scalar = keyof typeof scalarBytes;
type Element = keyof typeof elementBytes;
type ElementArray<E extends Element> = E extends 'f32'
  ? Float32Array
  : E extends 'i8'
    ? Int8Array
    : E extends 'u8'
      ? Uint8Array
      : E extends 'u32'
        ? Uint32Array
        : Uint16Array;
type AnyArray = Float32Array | Uint32Array | Uint16Array | Int8Array | Uint8Array;

type ScalarTable = Readonly<Record<string, Scalar>>;
interface ArraySpec<Name extends string> {
  readonly element: Element;
  /** Header fields and known counts whose product is the number of elements; `/32` counts blocks of 32, rounded up. */
  readonly dims: readonly (Name | `${Name}/32`)[];
}
type ArrayTable<Name extends string> = Readonly<Record<string, ArraySpec<Name>>>;

/** First fields of every frame. From the top, the kind is version (3 bits, modulo 8), format (3 bits) and type (2 bits). */
const prefix = { kind: 'u8', lapId: 'u24' } as const;
const FRAME_PREFIX_BYTES = 4;

interface Placed<T> {
  name: string;
  kind: T;
  offset: number;
}

export interface PlacedArray {
  name: string;
  element: Element;
  offset: number;
  length: number;
}

/** The numbers of a frame's header, and the counts that its reader already knows. */
export type NumbersOf<H extends ScalarTable, K extends string> = { lapId: number } & Record<keyof H | K, number>;
export type ArraysOf<A extends ArrayTable<string>> = { [K in keyof A]: ElementArray<A[K]['element']> };

export interface FrameLayout<Numbers, Arrays> {
  readonly headerBytes: number;
  /** Positions of the arrays and size of the frame, for given header fields and known counts. */
  arrays(numbers: Readonly<Record<string, number>>): { arrays: PlacedArray[]; totalBytes: number };
  /** Writes a frame. Throws a FrameError if a number doesn't fit its field or an array its dimensions. */
  encode(fields: Numbers & Arrays & Format): Uint8Array<ArrayBuffer>;
  /**
   * Writes the header of a frame whose arrays are to be filled in place. `space` allocates its bytes, aligned to 4 and with any
   * contents. Throws a FrameError if a number doesn't fit its field.
   */
  begin(numbers: Numbers & Format, space?: (bytes: number) => Uint8Array<ArrayBuffer>): Begun<Arrays>;
  /** Reads the header alone, after checking its length, version, type and format. */
  decodeHeader(bytes: Uint8Array): Record<string, number>;
  /**
   * Reads a frame. Its arrays are views into `bytes` if that is aligned to 4 bytes, else into a copy of it. `numbers` are the
   * header's, plus the counts that the reader knows.
   */
  decode(bytes: Uint8Array, numbers: Readonly<Record<string, number>>): Numbers & Arrays;
}

interface Format {
  /** A set of `formatBits`; 0 by default. */
  format?: number;
}

export interface Begun<Arrays> {
  bytes: Uint8Array<ArrayBuffer>;
  /** Views into `bytes`. */
  arrays: Arrays;
}

// The payload is viewed with typed arrays, which have the machine's byte order.
const littleEndian = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/**
 * Derives a frame's offsets, sizes, encoder, decoder and TypeScript type from one table. Little-endian. Each array begins at the
 * next multiple of its element's size, and the padding is 0. `known` are counts that both sides know without the frame, `formats`
 * the bits that its format may have.
 */
export function frameLayout<
  const H extends ScalarTable,
  const K extends string,
  const A extends ArrayTable<(keyof H & string) | K>,
>(
  type: FrameType,
  table: { header: H; known: readonly K[]; formats: number; arrays: A },
): FrameLayout<NumbersOf<H, K>, ArraysOf<A>> {
  const header = placeScalars({ ...prefix, ...table.header });
  const last = header.at(-1)!;
  const headerBytes = last.offset + scalarBytes[last.kind];
  const fieldNames = ['lapId', ...Object.keys(table.header), ...table.known];
  const arrays = (numbers: Readonly<Record<string, number>>) => placeArrays(table.arrays, headerBytes, numbers);

  function begin(
    numbers: NumbersOf<H, K> & Format,
    space: (bytes: number) => Uint8Array<ArrayBuffer> = (bytes) => new Uint8Array(bytes),
  ): Begun<ArraysOf<A>> {
    requireLittleEndian();
    const given: Readonly<Record<string, number>> = { ...numbers, kind: kindOf(type, numbers.format ?? 0) };
    for (const field of header) requireFits(type, field, given[field.name]);
    const placed = arrays(given);
    if (placed.totalBytes > MAX_FRAME_BYTES) throw oversized(type, placed.totalBytes);
    const bytes = space(placed.totalBytes);
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    for (const field of header) writeScalar(view, field, given[field.name]!);
    const views: Record<string, AnyArray> = {};
    let end = headerBytes;
    for (const array of placed.arrays) {
      bytes.fill(0, end, array.offset);
      views[array.name] = viewArray(bytes, array);
      end = array.offset + array.length * elementBytes[array.element];
    }
    return { bytes, arrays: views as ArraysOf<A> };
  }

  function encode(fields: NumbersOf<H, K> & ArraysOf<A> & Format): Uint8Array<ArrayBuffer> {
    const begun = begin(fields);
    const given: Readonly<Record<string, unknown>> = fields;
    for (const [array, target] of Object.entries<AnyArray>(begun.arrays))
      fill(`${type}.${array}`, target, given[array]);
    return begun.bytes;
  }

  function decodeHeader(bytes: Uint8Array): Record<string, number> {
    const { view, type: found, format } = readPrefix(bytes);
    if (found !== type) throw new FrameError('bad-type', `Expected a ${type} frame, got a ${found}.`);
    if ((format & ~table.formats) !== 0) throw new FrameError('bad-code', `${type}: unknown format ${format}.`);
    if (bytes.byteLength < headerBytes) throw truncated(type, bytes.byteLength, headerBytes);
    const numbers: Record<string, number> = { format };
    for (const field of header) numbers[field.name] = readScalar(view, field);
    return numbers;
  }

  function decode(bytes: Uint8Array, numbers: Readonly<Record<string, number>>): NumbersOf<H, K> & ArraysOf<A> {
    requireLittleEndian();
    const placed = arrays(numbers);
    if (bytes.byteLength < placed.totalBytes) throw truncated(type, bytes.byteLength, placed.totalBytes);
    if (bytes.byteLength > placed.totalBytes) {
      const message = `${type}: ${bytes.byteLength} B, but its counts make ${placed.totalBytes} B; nothing may follow.`;
      throw new FrameError('oversized', message);
    }
    const aligned = bytes.byteOffset % FRAME_ALIGNMENT === 0 ? bytes : new Uint8Array(bytes);
    const fields: Record<string, number | AnyArray> = {};
    for (const name of fieldNames) fields[name] = numbers[name]!;
    let end = headerBytes;
    for (const array of placed.arrays) {
      requireZeros(type, aligned, end, array.offset);
      fields[array.name] = viewArray(aligned, array);
      end = array.offset + array.length * elementBytes[array.element];
    }
    return fields as NumbersOf<H, K> & ArraysOf<A>;
  }

  return { headerBytes, arrays, encode, begin, decodeHeader, decode };
}

const VERSION_SHIFT = 5;
const VERSION_MASK = 7;
const typeOfBits = Object.keys(frameTypes) as readonly FrameType[];

function kindOf(type: FrameType, format: number): number {
  return ((PROTOCOL_VERSION & VERSION_MASK) << VERSION_SHIFT) | (format << 2) | frameTypes[type];
}

/**
 * Reads a frame's type and lap id from its first four bytes, so that a late answer can be dropped before it is decoded. Throws a
 * FrameError if it cannot be one of our frames.
 */
export function peekFrame(bytes: Uint8Array): { type: FrameType; lapId: number } {
  const { type, lapId } = readPrefix(bytes);
  return { type, lapId };
}

/** Reads and checks the prefix that all frames share; the view covers the frame's bytes. */
function readPrefix(bytes: Uint8Array): { view: DataView; type: FrameType; format: number; lapId: number } {
  if (bytes.byteLength < FRAME_PREFIX_BYTES) throw truncated('frame', bytes.byteLength, FRAME_PREFIX_BYTES);
  if (bytes.byteLength > MAX_FRAME_BYTES) throw oversized('frame', bytes.byteLength);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const word = view.getUint32(0, true);
  const version = (word >> VERSION_SHIFT) & VERSION_MASK;
  if (version !== (PROTOCOL_VERSION & VERSION_MASK)) {
    throw new FrameError('bad-version', `The frame has version ${version}; this side speaks ${PROTOCOL_VERSION}.`);
  }
  return { view, type: typeOfBits[word & 3]!, format: (word >> 2) & 7, lapId: word >>> 8 };
}

function placeScalars(table: ScalarTable): Placed<Scalar>[] {
  let offset = 0;
  return Object.entries(table).map(([name, kind]) => {
    const field = { name, kind, offset };
    offset += scalarBytes[kind];
    return field;
  });
}

function placeArrays(table: ArrayTable<string>, headerBytes: number, numbers: Readonly<Record<string, number>>) {
  let end = headerBytes;
  const arrays = Object.entries(table).map(([name, { element, dims }]): PlacedArray => {
    const bytes = elementBytes[element];
    const offset = Math.ceil(end / bytes) * bytes;
    const length = dims.reduce((product, dim) => product * sizeOf(dim, numbers), 1);
    end = offset + length * bytes;
    return { name, element, offset, length };
  });
  return { arrays, totalBytes: end };
}

function sizeOf(dim: string, numbers: Readonly<Record<string, number>>): number {
  return dim.endsWith('/32') ? Math.ceil(numbers[dim.slice(0, -3)]! / BLOCK) : numbers[dim]!;
}

function requireFits(frame: string, field: Placed<Scalar>, given: unknown): void {
  const max = 2 ** (8 * scalarBytes[field.kind]) - 1;
  if (typeof given !== 'number' || !Number.isInteger(given) || given < 0 || given > max) {
    throw new FrameError(
      'bad-count',
      `${frame}.${field.name} must be an integer from 0 to ${max}, got ${String(given)}.`,
    );
  }
}

function writeScalar(view: DataView, { kind, offset }: Placed<Scalar>, value: number): void {
  if (kind === 'u8') return view.setUint8(offset, value);
  view.setUint16(offset, value, true);
  if (kind === 'u24') view.setUint8(offset + 2, value >> 16);
}

function readScalar(view: DataView, { kind, offset }: Placed<Scalar>): number {
  if (kind === 'u8') return view.getUint8(offset);
  const low = view.getUint16(offset, true);
  return kind === 'u16' ? low : low | (view.getUint8(offset + 2) << 16);
}

function fill(name: string, target: AnyArray, given: unknown): void {
  if (!ArrayBuffer.isView(given) || given.constructor !== target.constructor) {
    throw new FrameError('bad-count', `${name} must be a ${target.constructor.name}.`);
  }
  const source = given as AnyArray;
  if (source.length !== target.length) {
    throw new FrameError('bad-count', `${name} must have ${target.length} elements, got ${source.length}.`);
  }
  target.set(source);
}

function viewArray(bytes: Uint8Array, { element, offset, length }: PlacedArray): AnyArray {
  const at = bytes.byteOffset + offset;
  if (element === 'f32') return new Float32Array(bytes.buffer, at, length);
  if (element === 'u32') return new Uint32Array(bytes.buffer, at, length);
  if (element === 'i8') return new Int8Array(bytes.buffer, at, length);
  if (element === 'u8') return new Uint8Array(bytes.buffer, at, length);
  return new Uint16Array(bytes.buffer, at, length);
}

function requireZeros(frame: string, bytes: Uint8Array, from: number, to: number): void {
  for (let i = from; i < to; i++) {
    if (bytes[i] !== 0) throw new FrameError('bad-padding', `${frame}: the padding at byte ${i} must be 0.`);
  }
}

function requireLittleEndian(): void {
  if (!littleEndian) {
    throw new Error('Shoal does not support big-endian machines: frames are little-endian and read in place.');
  }
}

function truncated(frame: string, gotBytes: number, neededBytes: number): FrameError {
  return new FrameError('truncated', `${frame}: ${gotBytes} B, but at least ${neededBytes} B are needed.`);
}

function oversized(frame: string, bytes: number): FrameError {
  return new FrameError('oversized', `${frame}: ${bytes} B exceed the limit of ${MAX_FRAME_BYTES} B.`);
}
