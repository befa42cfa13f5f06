import {
  denseTensors,
  encoderTensors,
  type HeadConfig,
  headTensors,
  type ModelConfig,
  seq2seqTensors,
  TensorSpec,
} from '@shoal/model';
import { panelBytes, type DenseFormat } from './panels.ts';

/** The part of a checkpoint's tensor that an entry holds: `kv_b_proj` becomes two entries of one matrix per head. */
export type DensePart = 'whole' | 'w-uk-t' | 'w-uv';

/** One packed tensor of the dense engine's weights. */
export interface DenseEntry {
  /** The path in `DenseWeights`, as `layers.3.attention.wUkT`. */
  name: string;
  /** A vector is one row of f32. */
  kind: 'vector' | 'matrix';
  format: DenseFormat;
  /** Number of consecutive matrices of the same size: one, or one per head. */
  count: number;
  rows: number;
  cols: number;
  /** From the beginning of the file; a multiple of 64. */
  offset: number;
  bytes: number;
  source: { tensor: TensorSpec; part: DensePart };
}

/** Consecutive entries of the file that go into the same bank of memory. */
export interface DenseSegment {
  /** `embed`, `layers.0` …, `head`, `mtp`; `encoder` behind the layers of an encoder–decoder's encoder. */
  name: string;
  offset: number;
  bytes: number;
  entries: DenseEntry[];
}

export interface DenseLayout {
  format: DenseFormat;
  segments: DenseSegment[];
  /** Offset of the first segment. */
  headerBytes: number;
  totalBytes: number;
}

/** The dense weights of a packed model, checked as they are read. */
export interface PackedDense {
  readonly layout: DenseLayout;
  /** Reads one entry into `target`, [entry.bytes]. Throws WeightsError `corrupt` if it is not what was packed. */
  read(entry: DenseEntry, target: Uint8Array): Promise<void>;
}

/** A cache line, which suits any vector. */
const ALIGN_BYTES = 64;

/** Rounds up to a multiple of `align`. */
export const alignUp = (bytes: number, align = ALIGN_BYTES): number => Math.ceil(bytes / align) * align;

/**
 * Lays out the dense engine's weights, with matrices in `format` and gates and vectors in f32.
 * `headerBytes` is the size of the file's header, 0 for memory without a file.
 */
export function denseLayout(config: ModelConfig, format: DenseFormat, headerBytes = 0): DenseLayout {
  return layoutOf(config, partsOf(config), format, headerBytes);
}

/** The segment of a head that drafts. */
export const HEAD_SEGMENT = 'drafter';

/** Lays out the weights of a head, which are in no file, as `drafter.…`. */
export function headLayout(config: HeadConfig, format: DenseFormat): DenseLayout {
  return layoutOf(config.transformer, [[HEAD_SEGMENT, { [HEAD_SEGMENT]: headTensors(config) }]], format, 0);
}

function layoutOf(
  config: ModelConfig,
  parts: readonly (readonly [string, unknown])[],
  format: DenseFormat,
  headerBytes: number,
): DenseLayout {
  let end = alignUp(headerBytes);
  const segments = parts.map(([name, part]) => {
    const offset = end;
    const entries = leaves('', part).flatMap(([path, tensor]) => entriesOf(config, path, tensor, format));
    for (const entry of entries) {
      entry.offset = end;
      end = alignUp(end + entry.bytes);
    }
    return { name, offset, bytes: end - offset, entries };
  });
  return { format, segments, headerBytes: alignUp(headerBytes), totalBytes: end };
}

type Part = [segment: string, tensors: unknown];

function partsOf(config: ModelConfig): Part[] {
  if (config.seq2seq) return seq2seqParts(config);
  return config.encoder ? encoderParts(config) : decoderParts(config);
}

function decoderParts(config: ModelConfig): Part[] {
  const { embedTokens, layers, norm, lmHead, mtp } = denseTensors(config);
  const parts: Part[] = [['embed', { embedTokens }], ...layerParts(layers), ['head', { norm, lmHead }]];
  return mtp ? [...parts, ['mtp', { mtp }]] : parts;
}

function encoderParts(config: ModelConfig): Part[] {
  const { layers, ...embedding } = encoderTensors(config, config.encoder!);
  return [['embed', embedding], ...layerParts(layers)];
}

function seq2seqParts(config: ModelConfig): Part[] {
  const { encoderLayers } = config.seq2seq!;
  const { embedTokens, positionBias, layers, encoderNorm, norm } = seq2seqTensors(config, config.seq2seq!);
  const parts = layerParts(layers);
  return [
    ['embed', { embedTokens, positionBias }],
    ...parts.slice(0, encoderLayers),
    ['encoder', { encoderNorm }],
    ...parts.slice(encoderLayers),
    ['head', { norm }],
  ];
}

const layerParts = (layers: readonly unknown[]): Part[] =>
  layers.map((layer, i) => [`layers.${i}`, { [`layers.${i}`]: layer }]);

/** Matrices that decide which experts a row gets, and how much of the shared one. */
const IS_GATE = /\.(gate\.weight|sharedGate)$/;
/** Matrices that are looked up in, and so kept as vectors of all their values. */
const IS_TABLE = /^positionBias\./;

function leaves(path: string, part: unknown): [string, TensorSpec][] {
  if (part instanceof TensorSpec) return [[path, part]];
  if (typeof part !== 'object' || part === null) return [];
  return Object.entries(part).flatMap(([key, child]) => leaves(path === '' ? key : `${path}.${key}`, child));
}

function entriesOf(config: ModelConfig, name: string, tensor: TensorSpec, format: DenseFormat): DenseEntry[] {
  const { attention } = config;
  const entry = (
    at: string,
    part: DensePart,
    count: number,
    rows: number,
    cols: number,
    as: DenseFormat,
  ): DenseEntry => {
    const bytes = count * panelBytes(as, rows, cols);
    return { name: at, kind: 'matrix', format: as, count, rows, cols, offset: 0, bytes, source: { tensor, part } };
  };
  const [rows = 1, cols] = tensor.shape;
  if (cols === undefined || IS_TABLE.test(name)) {
    const values = rows * (cols ?? 1);
    const bytes = alignUp(values * Float32Array.BYTES_PER_ELEMENT);
    const source = { tensor, part: 'whole' as const };
    return [{ name, kind: 'vector', format: 'f32', count: 1, rows: 1, cols: values, offset: 0, bytes, source }];
  }
  if (name.endsWith('.kvBProj') && attention.kind === 'mla') {
    const { numAttentionHeads: heads, qkNopeHeadDim, vHeadDim, kvLoraRank } = attention;
    const prefix = name.slice(0, -'kvBProj'.length);
    return [
      entry(`${prefix}wUkT`, 'w-uk-t', heads, kvLoraRank, qkNopeHeadDim, format),
      entry(`${prefix}wUv`, 'w-uv', heads, vHeadDim, kvLoraRank, format),
    ];
  }
  return [entry(name, 'whole', 1, rows, cols, IS_GATE.test(name) ? 'f32' : format)];
}
