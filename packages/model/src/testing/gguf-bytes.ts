/** A metadata value; whole numbers become u32. */
export type GgufInput =
  | number
  | boolean
  | string
  | readonly string[]
  | { f32: number }
  | { u64: bigint }
  | { i32s: readonly number[] }
  | { f32s: readonly number[] }
  /** A type and a value as they are. */
  | { raw: Uint8Array };

export interface GgufTensorInput {
  name: string;
  /** Rows first. */
  shape: readonly number[];
  /** ggml's number of the type. */
  type: number;
  bytes: Uint8Array;
  /** What the header says instead of where the bytes are. */
  offset?: number;
}

export interface GgufFileInput {
  version?: number;
  metadata: readonly (readonly [key: string, value: GgufInput])[];
  tensors: readonly GgufTensorInput[];
  /** What the header announces instead of the numbers of both. */
  counts?: { tensors?: bigint; keys?: bigint };
}

export const GGUF_ALIGNMENT = 32;

/** Lays out a GGUF file (docs/gguf.md of ggml), right or wrong. */
export function ggufBytes({ version = 3, metadata, tensors, counts }: GgufFileInput): Buffer {
  const header = [Buffer.from('GGUF'), u32(version)];
  header.push(u64(counts?.tensors ?? BigInt(tensors.length)), u64(counts?.keys ?? BigInt(metadata.length)));
  for (const [key, value] of metadata) header.push(string(key), typed(value));
  const data: Buffer[] = [];
  let offset = 0;
  for (const tensor of tensors) {
    header.push(
      string(tensor.name),
      u32(tensor.shape.length),
      ...[...tensor.shape].reverse().map((size) => u64(BigInt(size))),
    );
    header.push(u32(tensor.type), u64(BigInt(tensor.offset ?? offset)));
    const padded = pad(Buffer.from(tensor.bytes));
    data.push(padded);
    offset += padded.byteLength;
  }
  return Buffer.concat([pad(Buffer.concat(header)), ...data]);
}

function pad(bytes: Buffer): Buffer {
  const over = bytes.byteLength % GGUF_ALIGNMENT;
  return over === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(GGUF_ALIGNMENT - over)]);
}

/** A value after its type (`gguf_type`). */
function typed(value: GgufInput): Buffer {
  if (typeof value === 'number') return Buffer.concat([u32(4), u32(value)]);
  if (typeof value === 'boolean') return Buffer.concat([u32(7), Buffer.from([Number(value)])]);
  if (typeof value === 'string') return Buffer.concat([u32(8), string(value)]);
  if ('raw' in value) return Buffer.from(value.raw);
  if ('f32' in value) return Buffer.concat([u32(6), f32(value.f32)]);
  if ('u64' in value) return Buffer.concat([u32(10), u64(value.u64)]);
  if ('i32s' in value)
    return array(
      5,
      value.i32s.map((one) => u32(one)),
    );
  if ('f32s' in value)
    return array(
      6,
      value.f32s.map((one) => f32(one)),
    );
  return array(
    8,
    value.map((one) => string(one)),
  );
}

function array(type: number, elements: readonly Buffer[]): Buffer {
  return Buffer.concat([u32(9), u32(type), u64(BigInt(elements.length)), ...elements]);
}

function string(text: string): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([u64(BigInt(bytes.byteLength)), bytes]);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
}

function u64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt.asUintN(64, value));
  return bytes;
}

function f32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
}
