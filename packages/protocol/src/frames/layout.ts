import { MAX_FRAME_BYTES } from '../limits.ts';
import { PROTOCOL_VERSION, SUPPORTED_VERSIONS } from '../version.ts';
import { FrameError } from './error.ts';

/** `SH` in the order of the bytes. */
export const FRAME_MAGIC = 0x4853;

const scalarBytes = { u8: 1, u16: 2, u32: 4 } as const;
const elementBytes = { i8: 1, u8: 1, u16: 2, f16: 2, f32: 4 } as const;
/** Of dimensions that are counted in blocks. */
export const BLOCK = 32;
/** Arrays are viewed in place, so the frame itself must lie on the widest element's boundary. */
const FRAME_ALIGNMENT = 4;

type Scalar = keyof typeof scalarBytes;
type Element = keyof typeof elementBytes;
type ElementArray<E extends Element> = E extends 'f32'
  ? Float32Array
  : E extends 'i8'
    ? Int8Array
    : E extends 'u8'
      ? Uint8Array
      : Uint16Array;
type AnyArray = Float32Array | Uint16Array | Int8Array | Uint8Array;

type ScalarTable = Readonly<Record<string, Scalar>>;
interface ArraySpec<Name extends string> {
  readonly element: Element;
  /** Header fields whose product is the number of elements; `/32`: of whole or begun blocks of 32. */
  readonly dims: readonly (Name | `${Name}/32`)[];
}
type ArrayTable<Name extends string> = Readonly<Record<string, ArraySpec<Name>>>;

/** What every frame begins with. */
const prefix = { magic: 'u16', version: 'u8', type: 'u8', lapId: 'u32' } as const;
export const FRAME_PREFIX_BYTES = 8;

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

/** The numbers of a frame's header as a program holds them. */
export type HeaderOf<H extends ScalarTable> = { lapId: number } & {
  [K in keyof H as K extends `reserved${string}` ? never : K]: number;
};
export type ArraysOf<A extends ArrayTable<string>> = { [K in keyof A]: ElementArray<A[K]['element']> };

export interface FrameLayout<Header, Arrays> {
  readonly type: number;
  readonly headerBytes: number;
  /** Header fields in order, prefix included, with their byte offsets. */
  readonly header: readonly Placed<Scalar>[];
  /** Where the arrays lie, and the frame's size, for given header fields. */
  arrays(header: Readonly<Record<string, number>>): { arrays: PlacedArray[]; totalBytes: number };
  /** Writes a frame. Throws a FrameError if a number doesn't fit its field or an array its dimensions. */
  encode(fields: Header & Arrays): Uint8Array<ArrayBuffer>;
  /**
   * A frame with its header written and its arrays to be filled in place. `space` gives that many bytes, on a boundary of
   * four; what lies in them before is of no matter. Throws a FrameError if a number doesn't fit its field.
   */
  begin(header: Header, space?: (bytes: number) => Uint8Array<ArrayBuffer>): Begun<Arrays>;
  /** The header alone, after its length, magic, version, type and reserved fields have been checked. */
  decodeHeader(bytes: Uint8Array): Record<string, number>;
  /**
   * Reads a frame. Its arrays are views into `bytes` where that is aligned to 4 bytes, into one copy of it otherwise.
   * `header` saves reading it again.
   */
  decode(bytes: Uint8Array, header?: Record<string, number>): Header & Arrays;
}

export interface Begun<Arrays> {
  bytes: Uint8Array<ArrayBuffer>;
  /** Views into `bytes`. */
  arrays: Arrays;
}

// Typed arrays have the byte order of the machine, and the payload is viewed with them.
const littleEndian = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/**
 * One table gives a frame's offsets, sizes, encoder, decoder and TypeScript type. Little-endian. Each array begins at the
 * next multiple of its element's size; bytes skipped for that are 0. A field named `reserved…` is written as 0 and must be 0.
 */
export function frameLayout<const H extends ScalarTable, const A extends ArrayTable<keyof H & string>>(
  name: string,
  type: number,
  table: { header: H; arrays: A },
): FrameLayout<HeaderOf<H>, ArraysOf<A>> {
  const header = placeScalars({ ...prefix, ...table.header });
  const last = header.at(-1)!;
  const headerBytes = last.offset + scalarBytes[last.kind];
  const ownFields = header.map((field) => field.name).filter((own) => !(own in prefix) && !own.startsWith('reserved'));
  const arrays = (values: Readonly<Record<string, number>>) => placeArrays(table.arrays, headerBytes, values);

  function begin(
    fields: HeaderOf<H>,
    space: (bytes: number) => Uint8Array<ArrayBuffer> = (bytes) => new Uint8Array(bytes),
  ): Begun<ArraysOf<A>> {
    requireLittleEndian();
    const given: Readonly<Record<string, unknown>> = fields;
    const values: Record<string, number> = {};
    for (const field of header) values[field.name] = headerValue(name, field, given[field.name], type);
    const placed = arrays(values);
    if (placed.totalBytes > MAX_FRAME_BYTES) throw oversized(name, placed.totalBytes);
    const bytes = space(placed.totalBytes);
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    for (const field of header) writeScalar(view, field, values[field.name]!);
    const views: Record<string, AnyArray> = {};
    let end = headerBytes;
    for (const array of placed.arrays) {
      bytes.fill(0, end, array.offset);
      views[array.name] = viewArray(bytes, array);
      end = array.offset + array.length * elementBytes[array.element];
    }
    return { bytes, arrays: views as ArraysOf<A> };
  }

  function encode(fields: HeaderOf<H> & ArraysOf<A>): Uint8Array<ArrayBuffer> {
    const begun = begin(fields);
    const given: Readonly<Record<string, unknown>> = fields;
    for (const [array, target] of Object.entries<AnyArray>(begun.arrays))
      fill(`${name}.${array}`, target, given[array]);
    return begun.bytes;
  }

  function decodeHeader(bytes: Uint8Array): Record<string, number> {
    const view = checkPrefix(bytes);
    if (view.getUint8(3) !== type) {
      throw new FrameError('bad-type', `Expected a ${name} frame (type ${type}), got type ${view.getUint8(3)}.`);
    }
    if (bytes.byteLength < headerBytes) throw truncated(name, bytes.byteLength, headerBytes);
    const values: Record<string, number> = {};
    for (const field of header) {
      values[field.name] = readScalar(view, field);
      if (field.name.startsWith('reserved') && values[field.name] !== 0) {
        throw new FrameError('bad-padding', `${name}: the field at byte ${field.offset} is reserved and must be 0.`);
      }
    }
    return values;
  }

  function decode(bytes: Uint8Array, values = decodeHeader(bytes)): HeaderOf<H> & ArraysOf<A> {
    requireLittleEndian();
    const placed = arrays(values);
    if (bytes.byteLength < placed.totalBytes) throw truncated(name, bytes.byteLength, placed.totalBytes);
    if (bytes.byteLength > placed.totalBytes) {
      throw new FrameError(
        'oversized',
        `${name}: ${bytes.byteLength} B where its counts make ${placed.totalBytes} B; nothing may follow.`,
      );
    }
    const aligned = bytes.byteOffset % FRAME_ALIGNMENT === 0 ? bytes : new Uint8Array(bytes);
    const fields: Record<string, number | AnyArray> = { lapId: values.lapId! };
    for (const field of ownFields) fields[field] = values[field]!;
    let end = headerBytes;
    for (const array of placed.arrays) {
      requireZeros(name, aligned, end, array.offset);
      fields[array.name] = viewArray(aligned, array);
      end = array.offset + array.length * elementBytes[array.element];
    }
    return fields as HeaderOf<H> & ArraysOf<A>;
  }

  return { type, headerBytes, header, arrays, encode, begin, decodeHeader, decode };
}

/** Checks what all frames have in common; the view is over the frame's bytes. */
export function checkPrefix(bytes: Uint8Array): DataView {
  if (bytes.byteLength < FRAME_PREFIX_BYTES) throw truncated('frame', bytes.byteLength, FRAME_PREFIX_BYTES);
  if (bytes.byteLength > MAX_FRAME_BYTES) throw oversized('frame', bytes.byteLength);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const magic = view.getUint16(0, true);
  if (magic !== FRAME_MAGIC) {
    throw new FrameError('bad-magic', `A frame begins with 0x${hex(FRAME_MAGIC)}, this one with 0x${hex(magic)}.`);
  }
  const version = view.getUint8(2);
  if (!SUPPORTED_VERSIONS.includes(version)) {
    throw new FrameError(
      'bad-version',
      `Frame version ${version} is not among ${SUPPORTED_VERSIONS.join(', ')}: update the older side.`,
    );
  }
  return view;
}

function placeScalars(table: ScalarTable): Placed<Scalar>[] {
  let offset = 0;
  return Object.entries(table).map(([name, kind]) => {
    const field = { name, kind, offset };
    offset += scalarBytes[kind];
    return field;
  });
}

function placeArrays(table: ArrayTable<string>, headerBytes: number, values: Readonly<Record<string, number>>) {
  let end = headerBytes;
  const arrays = Object.entries(table).map(([name, { element, dims }]): PlacedArray => {
    const bytes = elementBytes[element];
    const offset = Math.ceil(end / bytes) * bytes;
    const length = dims.reduce((product, dim) => product * sizeOf(dim, values), 1);
    end = offset + length * bytes;
    return { name, element, offset, length };
  });
  return { arrays, totalBytes: end };
}

function sizeOf(dim: string, values: Readonly<Record<string, number>>): number {
  return dim.endsWith('/32') ? Math.ceil(values[dim.slice(0, -3)]! / BLOCK) : values[dim]!;
}

function headerValue(frame: string, field: Placed<Scalar>, given: unknown, type: number): number {
  if (field.name === 'magic') return FRAME_MAGIC;
  if (field.name === 'version') return PROTOCOL_VERSION;
  if (field.name === 'type') return type;
  if (field.name.startsWith('reserved')) return 0;
  const max = 2 ** (8 * scalarBytes[field.kind]) - 1;
  if (typeof given !== 'number' || !Number.isInteger(given) || given < 0 || given > max) {
    throw new FrameError(
      'bad-count',
      `${frame}.${field.name} must be an integer from 0 to ${max}, got ${String(given)}.`,
    );
  }
  return given;
}

function writeScalar(view: DataView, { kind, offset }: Placed<Scalar>, value: number): void {
  if (kind === 'u8') view.setUint8(offset, value);
  else if (kind === 'u16') view.setUint16(offset, value, true);
  else view.setUint32(offset, value, true);
}

function readScalar(view: DataView, { kind, offset }: Placed<Scalar>): number {
  if (kind === 'u8') return view.getUint8(offset);
  return kind === 'u16' ? view.getUint16(offset, true) : view.getUint32(offset, true);
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
    throw new Error(
      'Frames are little-endian and read in place: this machine is big-endian, which Shoal does not support.',
    );
  }
}

function truncated(frame: string, gotBytes: number, neededBytes: number): FrameError {
  return new FrameError('truncated', `${frame}: ${gotBytes} B where at least ${neededBytes} B are needed.`);
}

function oversized(frame: string, bytes: number): FrameError {
  return new FrameError('oversized', `${frame}: ${bytes} B are more than the limit of ${MAX_FRAME_BYTES} B.`);
}

function hex(value: number): string {
  return value.toString(16).padStart(4, '0');
}
