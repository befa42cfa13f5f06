import { CheckpointError, type CheckpointErrorReason } from './errors.ts';
import { f16ToF32 } from './f16.ts';
import { e8m0Of } from './mxfp4.ts';
import { e4m3Values } from './quantised/fp8-codes.ts';

/** Bytes of one element, for the element types of the format that take whole bytes. */
export const dtypeBytes = {
  BF16: 2,
  F16: 2,
  F32: 4,
  F64: 8,
  F8_E4M3: 1,
  F8_E5M2: 1,
  F8_E8M0: 1,
  I8: 1,
  I16: 2,
  I32: 4,
  I64: 8,
  U8: 1,
  U16: 2,
  U32: 4,
  U64: 8,
  BOOL: 1,
} as const;
export type TensorDtype = keyof typeof dtypeBytes;

/** The types in which weights are numbers as they are; each converts to float32 without loss. */
export const floatDtypes: readonly TensorDtype[] = ['BF16', 'F16', 'F32'];

/** The safetensors format's own limit on its JSON header. */
export const MAX_HEADER_BYTES = 100_000_000;
/** Far above DeepSeek-V3's 90,000 tensors over all its files; a header with more was made to exhaust memory. */
export const MAX_TENSORS_PER_FILE = 1_000_000;
/** Bytes before the header: its length, 64 bits little-endian. */
export const PREFIX_BYTES = 8;
/** More dimensions than any weight has. */
const MAX_RANK = 8;

export interface TensorInfo {
  dtype: TensorDtype;
  shape: readonly number[];
  bytes: number;
  /** Byte offset in the file. */
  offset: number;
}

/** The tensors of a file by name. */
export type TensorTable = Map<string, TensorInfo>;

/**
 * The header's length, from a file's first 8 bytes.
 * Throws a CheckpointError if the file is too short for a header or for the one it announces.
 */
export function readHeaderLength(prefix: Uint8Array, fileBytes: number, file: string): number {
  const bad = (reason: CheckpointErrorReason, detail: string) => new CheckpointError(reason, file, undefined, detail);
  if (prefix.byteLength < PREFIX_BYTES || fileBytes < PREFIX_BYTES) {
    throw bad('truncated', `is ${fileBytes} bytes, too short for a safetensors header`);
  }
  const length = new DataView(prefix.buffer, prefix.byteOffset, PREFIX_BYTES).getBigUint64(0, true);
  const announces = `announces a header of ${length} bytes`;
  if (length > BigInt(MAX_HEADER_BYTES)) {
    const remedy = 'not a safetensors file, or a damaged one';
    throw bad('header-too-large', `${announces} (limit ${MAX_HEADER_BYTES}): ${remedy}`);
  }
  if (PREFIX_BYTES + Number(length) > fileBytes) {
    throw bad('truncated', `${announces} but is only ${fileBytes} bytes long: download it again`);
  }
  return Number(length);
}

/**
 * Parses a safetensors header (without its length prefix). `fileBytes` is the whole file's size.
 * Throws a CheckpointError naming the tensor unless every byte after the header belongs to exactly one tensor.
 */
export function parseHeader(header: Uint8Array, fileBytes: number, file: string): TensorTable {
  const text = decodeUtf8(header, file);
  const json = parseJsonObject(text, file);
  refuseDuplicates(text, file);
  const dataBytes = fileBytes - PREFIX_BYTES - header.byteLength;
  const table: TensorTable = new Map();
  let tensors = 0;
  for (const [name, entry] of Object.entries(json)) {
    if (name === '__metadata__') continue;
    if (++tensors > MAX_TENSORS_PER_FILE) {
      throw new CheckpointError('bad-header', file, undefined, `lists more than ${MAX_TENSORS_PER_FILE} tensors`);
    }
    const info = parseEntry(entry, dataBytes, file, name);
    info.offset += PREFIX_BYTES + header.byteLength;
    table.set(name, info);
  }
  refuseOverlapsAndGaps(table, PREFIX_BYTES + header.byteLength, fileBytes, file);
  return table;
}

function decodeUtf8(header: Uint8Array, file: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(header);
  } catch (cause) {
    throw new CheckpointError('bad-header', file, undefined, 'header is not UTF-8', { cause });
  }
}

function parseJsonObject(text: string, file: string): Record<string, unknown> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new CheckpointError('bad-header', file, undefined, 'header is not JSON', { cause });
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw new CheckpointError('bad-header', file, undefined, 'header is not a JSON object');
  }
  return json as Record<string, unknown>;
}

function parseEntry(entry: unknown, dataBytes: number, file: string, name: string): TensorInfo {
  const bad = (detail: string, reason: CheckpointErrorReason = 'bad-header') =>
    new CheckpointError(reason, file, name, detail);
  if (typeof entry !== 'object' || entry === null) throw bad('entry is not an object');
  const { dtype, shape, data_offsets: offsets } = entry as Record<string, unknown>;
  if (!isDtype(dtype)) {
    const supported = Object.keys(dtypeBytes).join(', ');
    throw bad(`dtype ${JSON.stringify(dtype)} is not supported; supported: ${supported}`, 'wrong-dtype');
  }
  if (!isSizes(shape) || shape.length > MAX_RANK) throw bad(`shape is not a list of at most ${MAX_RANK} sizes`);
  if (!isSizes(offsets) || offsets.length !== 2) throw bad('data_offsets is not a pair of offsets');
  const [begin, end] = offsets as [number, number];
  if (begin > end || end > dataBytes) {
    const where = `outside the file's ${dataBytes} data bytes: it is truncated or damaged`;
    throw bad(`data_offsets [${begin}, ${end}] lie ${where}`, 'out-of-range');
  }
  const bytes = shape.reduce<number>((product, size) => product * size, dtypeBytes[dtype]);
  if (bytes !== end - begin) {
    throw bad(`${dtype} [${shape}] takes ${bytes} bytes, but ${end - begin} are stored`, 'wrong-size');
  }
  return { dtype, shape, bytes, offset: begin };
}

function isDtype(value: unknown): value is TensorDtype {
  return typeof value === 'string' && Object.hasOwn(dtypeBytes, value);
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}

function refuseOverlapsAndGaps(table: TensorTable, dataStart: number, fileBytes: number, file: string): void {
  let end = dataStart;
  for (const [name, info] of [...table].sort(([, a], [, b]) => a.offset - b.offset || a.bytes - b.bytes)) {
    if (info.offset < end)
      throw new CheckpointError('overlap', file, name, `starts ${end - info.offset} bytes inside another tensor`);
    if (info.offset > end)
      throw new CheckpointError('gap', file, name, `follows ${info.offset - end} bytes that belong to no tensor`);
    end = info.offset + info.bytes;
  }
  if (end !== fileBytes)
    throw new CheckpointError('gap', file, undefined, `ends with ${fileBytes - end} bytes that belong to no tensor`);
}

/**
 * Throws if a key occurs twice at the top level, of which JSON.parse silently keeps the last. `text` is known to be valid JSON.
 * Keys are compared after unescaping, so that "a" and "\u0061" are the same name.
 */
function refuseDuplicates(text: string, file: string): void {
  const seen = new Set<string>();
  let depth = 0;
  let last = '';
  for (let i = 0; i < text.length; i++) {
    const char = text[i];
    if (char === '"') {
      const start = i++;
      while (text[i] !== '"') i += text[i] === '\\' ? 2 : 1;
      last = text.slice(start, i + 1);
    } else if (char === ':' && depth === 1) {
      const name = JSON.parse(last) as string;
      if (seen.has(name)) throw new CheckpointError('duplicate', file, name, 'is listed twice in the header');
      seen.add(name);
    } else if (char === '{' || char === '[') depth++;
    else if (char === '}' || char === ']') depth--;
  }
}

/**
 * Converts little-endian elements of BF16, F16, F32, F8_E4M3 or F8_E8M0 to float32, into `out` (of the same length) or a new array. `raw`
 * holds whole elements, at any alignment.
 */
export function toFloat32(
  raw: Uint8Array,
  dtype: TensorDtype,
  out: Float32Array = new Float32Array(raw.byteLength / dtypeBytes[dtype]),
): Float32Array {
  const length = raw.byteLength / dtypeBytes[dtype];
  if (dtype === 'F32') {
    new Uint8Array(out.buffer, out.byteOffset, raw.byteLength).set(raw);
    return out;
  }
  if (dtype === 'F8_E4M3') {
    for (let i = 0; i < length; i++) out[i] = e4m3Values[raw[i]!]!;
    return out;
  }
  if (dtype === 'F8_E8M0') {
    for (let i = 0; i < length; i++) out[i] = e8m0Of(raw[i]!);
    return out;
  }
  const halves =
    raw.byteOffset % 2 ? new Uint16Array(raw.slice().buffer) : new Uint16Array(raw.buffer, raw.byteOffset, length);
  if (dtype !== 'F16' && dtype !== 'BF16') throw new TypeError(`${dtype} is no type of weights`);
  if (dtype === 'F16') {
    for (let i = 0; i < length; i++) out[i] = f16ToF32(halves[i]!);
    return out;
  }
  const bits = new Uint32Array(out.buffer, out.byteOffset, length);
  for (let i = 0; i < length; i++) bits[i] = halves[i]! << 16; // bfloat16 is float32's upper half
  return out;
}
