import { mkdir, open, readFile, statfs, writeFile, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import {
  denseTensors,
  expertTensors,
  isMoeLayer,
  listTensorSpecs,
  type ModelConfig,
  parseModelConfig,
  seq2seqTensors,
  storedShape,
  type TensorSpec,
} from '@shoal/model';
import { randomTokenizer } from './tokenizer.ts';
import { RandomBf16 } from './values.ts';

export interface RandomCheckpointOptions {
  outDir: string;
  /** A config.json with the dimensions. */
  configPath: string;
  /** Replaces the config's `num_hidden_layers`. */
  layers?: number;
  seed: number;
  /** Approximate size of each file; published checkpoints are split in the same way. */
  fileBytes: number;
  /** Writes only the first bytes of each tensor, with holes for the rest: any size fits any disk. */
  sparse: boolean;
  onProgress?: (doneBytes: number, totalBytes: number) => void;
}

/** A tensor as it is stored: many experts may be one. */
interface StoredTensor {
  name: string;
  shape: readonly number[];
  dtype: 'BF16' | 'U8';
  /** Of normally distributed values; bytes are equally likely from `lowest` to `highest`. */
  values: { mean: number; deviation: number } | { lowest: number; highest: number };
}

const DTYPE_BYTES = { BF16: 2, U8: 1 } as const;
/** Columns that share a scale in MXFP4. */
const MXFP4_BLOCK = 32;
const BUFFER_VALUES = 4 * 1024 * 1024;
/** Values per tensor of a sparse checkpoint: enough to make all tensors differ. */
const SPARSE_VALUES = 2048;

/**
 * Writes random bfloat16 weights (MXFP4 experts where the config has them) with the dimensions of a published config, in
 * Hugging Face's layout: config.json,
 * generation_config.json, a matching tokenizer, model-*.safetensors and their index. The same options give the same
 * bytes. The variance of weights (1 / inputs) preserves the size of activations; norms are around 1.
 */
export async function writeRandomCheckpoint(options: RandomCheckpointOptions): Promise<{ totalBytes: number }> {
  const { outDir, seed } = options;
  const json = await readConfig(options);
  const config = parseModelConfig(json, options.configPath);
  await mkdir(outDir, { recursive: true });
  const tensors = storedTensors(config, isMxfp4(json));
  const totalBytes = tensors.reduce((sum, tensor) => sum + bytesOf(tensor), 0);
  await refuseSmallDisk(options, totalBytes);
  const specialIds = [...new Set([...(config.bosTokenId === null ? [] : [config.bosTokenId]), ...config.eosTokenIds])];
  const { tokenizerJson, tokenizerConfigJson } = randomTokenizer(config.vocabSize, specialIds, seed);
  const sampling = {
    do_sample: true,
    temperature: 1,
    bos_token_id: json['bos_token_id'],
    eos_token_id: json['eos_token_id'],
  };
  const save = (name: string, value: unknown) => writeFile(join(outDir, name), `${JSON.stringify(value)}\n`);
  await save('tokenizer.json', tokenizerJson);
  await save('tokenizer_config.json', tokenizerConfigJson);
  await save('generation_config.json', sampling);
  await writeFiles(options, tensors, totalBytes);
  await save('config.json', json);
  return { totalBytes };
}

async function readConfig({ configPath, layers }: RandomCheckpointOptions): Promise<Record<string, unknown>> {
  const json = JSON.parse(await readFile(configPath, 'utf8')) as Record<string, unknown>;
  // Everything but MXFP4 experts is written as bfloat16.
  if (!isMxfp4(json)) delete json['quantization_config'];
  return {
    ...json,
    torch_dtype: 'bfloat16',
    ...(layers !== undefined && { ...cutLists(json, layers), num_hidden_layers: layers }),
    ...('num_nextn_predict_layers' in json && { num_nextn_predict_layers: 0 }),
  };
}

/** The lists that have an entry for each layer, as `layer_types`, with those of the first ones only. */
function cutLists(json: Record<string, unknown>, layers: number): Record<string, unknown> {
  const ofLayers = Object.entries(json).filter(
    ([, value]) => Array.isArray(value) && value.length === json['num_hidden_layers'],
  );
  return Object.fromEntries(ofLayers.map(([key, value]) => [key, (value as unknown[]).slice(0, layers)]));
}

/** All tensors by layer, with experts after the layer's others. */
function tensorsOf(config: ModelConfig): TensorSpec[] {
  const experts = (layer: number) =>
    isMoeLayer(config, layer)
      ? Array.from({ length: config.nRoutedExperts }, (_, expert) => expertTensors(config, layer, expert))
      : [];
  if (config.seq2seq) {
    const { layers, ...rest } = seq2seqTensors(config, config.seq2seq);
    return listTensorSpecs([rest, layers.map((tensors, layer) => [tensors, experts(layer)])]);
  }
  const { embedTokens, layers, norm, lmHead } = denseTensors(config);
  return listTensorSpecs([embedTokens, layers.map((tensors, layer) => [tensors, experts(layer)]), norm, lmHead]);
}

function isMxfp4(json: Record<string, unknown>): boolean {
  return (json['quantization_config'] as { quant_method?: unknown } | undefined)?.quant_method === 'mxfp4';
}

/** What a checkpoint stores for these tensors, in their order: a stack of experts once, in MXFP4 as blocks and scales. */
function storedTensors(config: ModelConfig, mxfp4: boolean): StoredTensor[] {
  const specs = new Map(tensorsOf(config).map((spec) => [spec.stored.name, spec]));
  return [...specs.values()].flatMap((spec): StoredTensor[] => {
    const { name, transposed } = spec.stored;
    const shape = storedShape(spec, config.nRoutedExperts);
    if (!mxfp4 || spec.shape.length !== 2 || !spec.name.includes('.experts.')) {
      return [{ name, shape, dtype: 'BF16', values: distributionOf(spec) }];
    }
    // Unlike other stacks, blocks are stored by rows.
    const [experts, ...matrix] = shape;
    const [rows, cols] = (transposed ? matrix.reverse() : matrix) as [number, number];
    const blocks = [experts!, rows, Math.ceil(cols / MXFP4_BLOCK)];
    return [
      { name: `${name}_blocks`, shape: [...blocks, MXFP4_BLOCK / 2], dtype: 'U8', values: { lowest: 0, highest: 255 } },
      { name: `${name}_scales`, shape: blocks, dtype: 'U8', values: mxfp4Scales(cols) },
    ];
  });
}

/** Powers of two around what makes sums of `cols` random codes, whose mean square is 9, as large as the inputs. */
function mxfp4Scales(cols: number): { lowest: number; highest: number } {
  const middle = 127 + Math.round(Math.log2(1 / (3 * Math.sqrt(cols))));
  return { lowest: middle - 1, highest: middle + 1 };
}

const valuesOf = ({ shape }: StoredTensor): number => shape.reduce((product, size) => product * size, 1);
const bytesOf = (tensor: StoredTensor): number => valuesOf(tensor) * DTYPE_BYTES[tensor.dtype];

async function refuseSmallDisk({ outDir, sparse }: RandomCheckpointOptions, totalBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(outDir);
  if (sparse || bavail * bsize > totalBytes) return;
  throw new Error(
    `${outDir} needs ${totalBytes} bytes and its disk has ${bavail * bsize} free: fewer --layers, or --sparse`,
  );
}

async function writeFiles(
  options: RandomCheckpointOptions,
  tensors: StoredTensor[],
  totalBytes: number,
): Promise<void> {
  const { outDir, fileBytes, seed } = options;
  const groups = groupBySize(tensors, fileBytes);
  const width = (n: number): string => `${n}`.padStart(5, '0');
  const random = new RandomBf16(seed);
  const weightMap: Record<string, string> = {};
  let done = 0;
  for (const [i, group] of groups.entries()) {
    const name =
      groups.length === 1 ? 'model.safetensors' : `model-${width(i + 1)}-of-${width(groups.length)}.safetensors`;
    const file = await open(join(outDir, name), 'w');
    try {
      await writeGroup(file, group, random, options.sparse, (bytes) =>
        options.onProgress?.((done += bytes), totalBytes),
      );
    } finally {
      await file.close();
    }
    for (const tensor of group) weightMap[tensor.name] = name;
  }
  if (groups.length === 1) return;
  const index = { metadata: { total_size: totalBytes }, weight_map: weightMap };
  await writeFile(join(outDir, 'model.safetensors.index.json'), `${JSON.stringify(index)}\n`);
}

function groupBySize(tensors: StoredTensor[], fileBytes: number): StoredTensor[][] {
  const groups: StoredTensor[][] = [[]];
  let bytes = 0;
  for (const tensor of tensors) {
    if (bytes > 0 && bytes + bytesOf(tensor) > fileBytes) {
      groups.push([]);
      bytes = 0;
    }
    groups.at(-1)!.push(tensor);
    bytes += bytesOf(tensor);
  }
  return groups;
}

async function writeGroup(
  file: FileHandle,
  tensors: StoredTensor[],
  random: RandomBf16,
  sparse: boolean,
  onBytes: (bytes: number) => void,
): Promise<void> {
  let end = 0;
  const entries = tensors.map((tensor) => {
    const begin = end;
    end += bytesOf(tensor);
    return [tensor.name, { dtype: tensor.dtype, shape: tensor.shape, data_offsets: [begin, end] }];
  });
  const json = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  const header = Buffer.concat([Buffer.alloc(8), json, Buffer.alloc((8 - (json.length % 8)) % 8, ' ')]);
  header.writeBigUInt64LE(BigInt(header.length - 8));
  await file.write(header, 0, header.length, 0);
  await file.truncate(header.length + end);
  let at = header.length;
  const buffer = new Uint16Array(BUFFER_VALUES);
  for (const tensor of tensors) {
    const length = valuesOf(tensor);
    const written = sparse ? Math.min(length, SPARSE_VALUES) : length;
    for (let start = 0; start < written; start += BUFFER_VALUES) {
      const part = fill(buffer, Math.min(BUFFER_VALUES, written - start), tensor, random);
      await file.write(part, 0, part.byteLength, at + start * DTYPE_BYTES[tensor.dtype]);
    }
    at += bytesOf(tensor);
    onBytes(bytesOf(tensor));
  }
}

/** The next `count` values of a tensor, in the buffer's memory. */
function fill(buffer: Uint16Array, count: number, { values }: StoredTensor, random: RandomBf16): Uint8Array {
  if ('mean' in values) {
    random.fill(buffer.subarray(0, count), values.mean, values.deviation);
    return new Uint8Array(buffer.buffer, 0, 2 * count);
  }
  const bytes = new Uint8Array(buffer.buffer, 0, count);
  random.fillBytes(bytes, values.lowest, values.highest);
  return bytes;
}

function distributionOf({ name, shape }: TensorSpec): { mean: number; deviation: number } {
  if (shape.length === 1) return { mean: name.includes('norm') ? 1 : 0, deviation: 0.1 };
  return { mean: 0, deviation: name.includes('embed') ? 1 : 1 / Math.sqrt(shape.at(-1)!) };
}
