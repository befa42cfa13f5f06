import { mkdir, open, readFile, statfs, writeFile, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import {
  denseTensors,
  expertTensors,
  isMoeLayer,
  listTensorSpecs,
  type ModelConfig,
  parseModelConfig,
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

const BF16_BYTES = 2;
const BUFFER_VALUES = 4 * 1024 * 1024;
/** Values per tensor of a sparse checkpoint: enough to make all tensors differ. */
const SPARSE_VALUES = 2048;

/**
 * Writes random bfloat16 weights with the dimensions of a published config, in Hugging Face's layout: config.json,
 * generation_config.json, a matching tokenizer, model-*.safetensors and their index. The same options give the same
 * bytes. The variance of weights (1 / inputs) preserves the size of activations; norms are around 1.
 */
export async function writeRandomCheckpoint(options: RandomCheckpointOptions): Promise<{ totalBytes: number }> {
  const { outDir, seed } = options;
  const json = await readConfig(options);
  const config = parseModelConfig(json, options.configPath);
  await mkdir(outDir, { recursive: true });
  const tensors = tensorsOf(config);
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
  // Weights are always written as bfloat16.
  delete json['quantization_config'];
  return {
    ...json,
    torch_dtype: 'bfloat16',
    ...(layers !== undefined && { num_hidden_layers: layers }),
    ...('num_nextn_predict_layers' in json && { num_nextn_predict_layers: 0 }),
  };
}

/** All tensors by layer, with experts after the layer's others. */
function tensorsOf(config: ModelConfig): TensorSpec[] {
  const { embedTokens, layers, norm, lmHead } = denseTensors(config);
  const experts = (layer: number) =>
    isMoeLayer(config, layer)
      ? Array.from({ length: config.nRoutedExperts }, (_, expert) => expertTensors(config, layer, expert))
      : [];
  return listTensorSpecs([embedTokens, layers.map((tensors, layer) => [tensors, experts(layer)]), norm, lmHead]);
}

const valuesOf = ({ shape }: TensorSpec): number => shape.reduce((product, size) => product * size, 1);
const bytesOf = (tensor: TensorSpec): number => valuesOf(tensor) * BF16_BYTES;

async function refuseSmallDisk({ outDir, sparse }: RandomCheckpointOptions, totalBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(outDir);
  if (sparse || bavail * bsize > totalBytes) return;
  throw new Error(
    `${outDir} needs ${totalBytes} bytes and its disk has ${bavail * bsize} free: fewer --layers, or --sparse`,
  );
}

async function writeFiles(options: RandomCheckpointOptions, tensors: TensorSpec[], totalBytes: number): Promise<void> {
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

function groupBySize(tensors: TensorSpec[], fileBytes: number): TensorSpec[][] {
  const groups: TensorSpec[][] = [[]];
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
  tensors: TensorSpec[],
  random: RandomBf16,
  sparse: boolean,
  onBytes: (bytes: number) => void,
): Promise<void> {
  let end = 0;
  const entries = tensors.map((tensor) => {
    const begin = end;
    end += bytesOf(tensor);
    return [tensor.name, { dtype: 'BF16', shape: tensor.shape, data_offsets: [begin, end] }];
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
    const [mean, deviation] = distributionOf(tensor);
    const written = sparse ? Math.min(length, SPARSE_VALUES) : length;
    for (let start = 0; start < written; start += BUFFER_VALUES) {
      const part = buffer.subarray(0, Math.min(BUFFER_VALUES, written - start));
      random.fill(part, mean, deviation);
      await file.write(new Uint8Array(part.buffer, 0, part.byteLength), 0, part.byteLength, at + start * BF16_BYTES);
    }
    at += length * BF16_BYTES;
    onBytes(length * BF16_BYTES);
  }
}

/** Mean and standard deviation of a tensor's values. */
function distributionOf({ name, shape }: TensorSpec): [number, number] {
  if (shape.length === 1) return name.includes('norm') ? [1, 0.1] : [0, 0.1];
  return [0, name.includes('embed') ? 1 : 1 / Math.sqrt(shape.at(-1)!)];
}
