import { CheckpointError, type CheckpointErrorReason } from '../errors.ts';
import { BLOCK_TYPES, type BlockType } from './block-types.ts';

/** A value of the metadata. 64-bit integers become numbers. */
export type GgufValue = number | boolean | string | readonly number[] | readonly boolean[] | readonly string[];

export interface GgufTensor {
  /** Rows first, as everywhere in Shoal; GGUF stores the dimensions in the other order. */
  shape: readonly number[];
  type: BlockType;
  /** Byte offset in the file. */
  offset: number;
  bytes: number;
}

export interface GgufHeader {
  metadata: ReadonlyMap<string, GgufValue>;
  tensors: ReadonlyMap<string, GgufTensor>;
}

/** The largest published header, with 200,000 tokens and 450,000 merges, is 13 MB. */
export const MAX_HEADER_BYTES = 128 * 1024 * 1024;
/** Of all arrays together. */
const MAX_ARRAY_VALUES = 1 << 23;
const MAX_KEYS = 100_000;
/** Far above Kimi-K2's 1,100: experts of a layer are one tensor. */
const MAX_TENSORS = 100_000;
/** ggml's own limits are 64 bytes and 4 dimensions. */
const MAX_NAME_BYTES = 256;
const MAX_RANK = 4;
const MAX_ALIGNMENT = 1 << 20;
const DEFAULT_ALIGNMENT = 32;

/** The header goes on after the bytes given. */
export class HeaderGoesOn extends Error {}

/**
 * Parses the beginning of a GGUF file of version 2 or 3 (docs/gguf.md of ggml). Throws HeaderGoesOn if `bytes` end before the header,
 * and a CheckpointError, naming the tensor or key, unless the tensors lie one after another in the file as the format demands.
 */
export function parseHeader(bytes: Uint8Array, fileBytes: number, file: string): GgufHeader {
  const reader = new HeaderReader(bytes, fileBytes, file);
  reader.magic();
  const numTensors = reader.count(MAX_TENSORS, 'tensors');
  const numKeys = reader.count(MAX_KEYS, 'metadata keys');
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < numKeys; i++) {
    const key = reader.name(`metadata key ${i}`);
    reader.reading = `metadata key ${key}`;
    if (metadata.has(key)) throw reader.bad('duplicate', 'is there twice');
    metadata.set(key, reader.value());
  }
  const entries: TensorEntry[] = [];
  for (let i = 0; i < numTensors; i++) entries.push(readEntry(reader, i));
  return { metadata, tensors: placed(entries, reader, alignmentOf(metadata, reader)) };
}

interface TensorEntry {
  name: string;
  shape: number[];
  type: BlockType;
  /** From the beginning of the tensors' data. */
  offset: number;
}

function readEntry(reader: HeaderReader, index: number): TensorEntry {
  const name = reader.name(`tensor ${index}`);
  reader.tensor = name;
  reader.reading = 'its entry in the header';
  const rank = reader.u32();
  if (rank < 1 || rank > MAX_RANK)
    throw reader.bad('bad-header', `has ${rank} dimensions; 1 to ${MAX_RANK} are possible`);
  const dimensions = Array.from({ length: rank }, () => reader.u64('a dimension'));
  const shape = dimensions.reverse();
  if (dimensions.some((size) => size < 1) || !Number.isSafeInteger(shape.reduce((a, b) => a * b, 1))) {
    throw reader.bad('bad-header', `has the impossible shape [${shape.join(', ')}]`);
  }
  const number = reader.u32();
  const type = BLOCK_TYPES.get(number);
  if (!type)
    throw reader.bad('wrong-dtype', `has the type ${number}, which is not known: update Shoal, or the file is damaged`);
  if (shape.at(-1)! % type.blockValues !== 0) {
    const rows = `rows of ${shape.at(-1)} values`;
    throw reader.bad(
      'wrong-shape',
      `has ${rows}, which are no whole blocks of ${type.name} (${type.blockValues} values)`,
    );
  }
  const entry = { name, shape, type, offset: reader.u64('its offset') };
  reader.tensor = undefined;
  return entry;
}

function alignmentOf(metadata: ReadonlyMap<string, GgufValue>, reader: HeaderReader): number {
  const alignment = metadata.get('general.alignment') ?? DEFAULT_ALIGNMENT;
  const isPower = typeof alignment === 'number' && alignment >= 1 && Number.isInteger(Math.log2(alignment));
  if (isPower && alignment <= MAX_ALIGNMENT) return alignment;
  throw reader.bad(
    'bad-header',
    `general.alignment is ${String(alignment)}; a power of two up to ${MAX_ALIGNMENT} is possible`,
  );
}

/** Each tensor's place in the file. As ggml does, demands that each begins where the one before it ends, after padding. */
function placed(entries: TensorEntry[], reader: HeaderReader, alignment: number): Map<string, GgufTensor> {
  const pad = (offset: number): number => Math.ceil(offset / alignment) * alignment;
  const dataStart = pad(reader.offset);
  const tensors = new Map<string, GgufTensor>();
  let expected = 0;
  for (const { name, shape, type, offset } of entries) {
    reader.tensor = name;
    if (tensors.has(name)) throw reader.bad('duplicate', 'is there twice');
    const bytes = (shape.reduce((a, b) => a * b, 1) / type.blockValues) * type.blockBytes;
    if (offset !== expected) {
      const problem = `begins at ${offset} of the data, but the tensor before it ends at ${expected}`;
      throw reader.bad(offset < expected ? 'overlap' : 'gap', `${problem}: the file is damaged`);
    }
    if (dataStart + offset + bytes > reader.fileBytes) {
      const problem = `ends at byte ${dataStart + offset + bytes}, but the file has ${reader.fileBytes}`;
      throw reader.bad('truncated', `${problem}: download it again`);
    }
    tensors.set(name, { shape, type, offset: dataStart + offset, bytes });
    expected = pad(offset + bytes);
  }
  reader.tensor = undefined;
  return tensors;
}

/** Types of metadata values (ggml's `gguf_type`). */
const ARRAY = 9;
const STRING = 8;
const NUMBERS: ReadonlyMap<number, [bytes: number, get: (view: DataView, at: number) => number]> = new Map([
  [0, [1, (view, at) => view.getUint8(at)]],
  [1, [1, (view, at) => view.getInt8(at)]],
  [2, [2, (view, at) => view.getUint16(at, true)]],
  [3, [2, (view, at) => view.getInt16(at, true)]],
  [4, [4, (view, at) => view.getUint32(at, true)]],
  [5, [4, (view, at) => view.getInt32(at, true)]],
  [6, [4, (view, at) => view.getFloat32(at, true)]],
  [10, [8, (view, at) => Number(view.getBigUint64(at, true))]],
  [11, [8, (view, at) => Number(view.getBigInt64(at, true))]],
  [12, [8, (view, at) => view.getFloat64(at, true)]],
]);
const BOOL = 7;

/** Reads a header's parts one after another. */
class HeaderReader {
  readonly fileBytes: number;
  offset = 0;
  /** What is being read, for errors. */
  reading = 'the header';
  /** The tensor whose entry is being read. */
  tensor: string | undefined;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #text: Buffer;
  readonly #file: string;
  #arrayValues = 0;

  constructor(bytes: Uint8Array, fileBytes: number, file: string) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.fileBytes = fileBytes;
    this.#file = file;
  }

  bad(reason: CheckpointErrorReason, detail: string): CheckpointError {
    const what = this.tensor === undefined && this.reading !== 'the header' ? `${this.reading} ${detail}` : detail;
    return new CheckpointError(reason, this.#file, this.tensor, what);
  }

  magic(): void {
    const at = this.#take(8);
    const magic = this.#text.toString('latin1', 0, 4);
    if (magic !== 'GGUF') throw this.bad('bad-header', 'is not a GGUF file: it does not begin with "GGUF"');
    const version = this.#view.getUint32(at + 4, true);
    if (version === 2 || version === 3) return;
    const isSwapped = (version & 0xffff) === 0;
    const problem = isSwapped ? 'is a GGUF file of a big-endian machine' : `is a GGUF file of version ${version}`;
    throw this.bad('bad-header', `${problem}; versions 2 and 3 in little-endian are read: convert the model again`);
  }

  /** A number of things, which take at least one byte each. */
  count(limit: number, what: string): number {
    const count = this.u64(`the number of ${what}`);
    if (count <= limit) return count;
    throw this.bad('bad-header', `announces ${count} ${what} (limit ${limit}): the file is damaged`);
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  u64(what: string): number {
    const value = this.#view.getBigUint64(this.#take(8), true);
    if (value > BigInt(Number.MAX_SAFE_INTEGER))
      throw this.bad('bad-header', `has ${value} for ${what}: the file is damaged`);
    return Number(value);
  }

  /** A key or a tensor's name; `what` is told until it is known. */
  name(what: string): string {
    this.reading = what;
    const name = this.#string(MAX_NAME_BYTES);
    if (name === '') throw this.bad('bad-header', 'has an empty name: the file is damaged');
    return name;
  }

  value(): GgufValue {
    const type = this.u32();
    return type === ARRAY ? this.#array() : this.#one(type);
  }

  #array(): GgufValue {
    const type = this.u32();
    const length = this.u64('its length');
    this.#arrayValues += length;
    if (this.#arrayValues > MAX_ARRAY_VALUES) {
      throw this.bad(
        'bad-header',
        `makes ${this.#arrayValues} values in arrays (limit ${MAX_ARRAY_VALUES}): the file is damaged`,
      );
    }
    // Not before the bytes are there, so that the memory used is bounded by them.
    const leastBytes = length * (NUMBERS.get(type)?.[0] ?? (type === STRING ? 8 : 1));
    this.#require(leastBytes);
    return Array.from({ length }, () => this.#one(type)) as GgufValue & readonly unknown[];
  }

  #one(type: number): number | boolean | string {
    if (type === STRING) return this.#string(MAX_HEADER_BYTES);
    if (type === BOOL) return this.#bytes[this.#take(1)] !== 0;
    const [bytes, get] = NUMBERS.get(type) ?? [];
    if (bytes && get) return get(this.#view, this.#take(bytes));
    const problem = type === ARRAY ? 'has arrays in an array' : `has the type ${type}, which is not known`;
    throw this.bad('bad-header', `${problem}: the file is damaged`);
  }

  #string(limit: number): string {
    const length = this.u64('the length of a string');
    if (length > limit)
      throw this.bad('bad-header', `has a string of ${length} bytes (limit ${limit}): the file is damaged`);
    const at = this.#take(length);
    return this.#text.toString('utf8', at, at + length);
  }

  #take(bytes: number): number {
    this.#require(bytes);
    const at = this.offset;
    this.offset += bytes;
    return at;
  }

  #require(bytes: number): void {
    if (this.offset + bytes <= this.#bytes.byteLength) return;
    if (this.offset + bytes > this.fileBytes) {
      throw this.bad('truncated', `ends after byte ${this.fileBytes}, the last of the file: download it again`);
    }
    if (this.offset + bytes > MAX_HEADER_BYTES) {
      throw this.bad('header-too-large', `passes byte ${MAX_HEADER_BYTES}, the limit of a header: the file is damaged`);
    }
    throw new HeaderGoesOn();
  }
}
