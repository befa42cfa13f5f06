import { copyFile, mkdir, open, readFile, writeFile, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  createRng,
  expertTensors,
  listDenseTensors,
  moeLayers,
  parseModelConfig,
  type ModelConfig,
  type Rng,
  type TensorSpec,
} from '@shoal/model';

const ROOT = join(import.meta.dirname, '..');
const CONFIGS = join(ROOT, 'packages/model/src/testing/published-configs');
const TOKENIZER = join(ROOT, 'models/tiny-stories');

const HELP = `node --import tsx tools/random-checkpoint.ts --config NAME --out DIR [options]

Writes a checkpoint of a published model's dimensions with random weights (bf16, in files of 4 GB), to measure with: such
weights are not to be had everywhere, and speed and size do not depend on what they say.

  --config NAME   of packages/model/src/testing/published-configs, e.g. DeepSeek-V2-Lite
  --layers N      only so many layers
  --seed N        of the weights (1)
  --sparse        zeros that take no room on the disk, but for the first bytes of each file
`;

/** Bytes of one file's tensors, as published checkpoints have them. */
const MAX_FILE_BYTES = 4e9;
/** Values of the pool that tensors are cut from: normally distributed, long enough not to repeat within a row. */
const POOL_VALUES = 1 << 20;
const BF16_BYTES = 2;

const { values } = parseArgs({
  options: {
    config: { type: 'string' },
    out: { type: 'string' },
    layers: { type: 'string' },
    seed: { type: 'string', default: '1' },
    sparse: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h' },
  },
});

async function main(): Promise<number> {
  const { config: name, out } = values;
  if (values.help || !name || !out) {
    (values.help ? process.stdout : process.stderr).write(HELP);
    return values.help ? 0 : 2;
  }
  const json = JSON.parse(await readFile(join(CONFIGS, `${name}.json`), 'utf8')) as Record<string, unknown>;
  delete json['quantization_config'];
  json['num_nextn_predict_layers'] = 0;
  if (values.layers) json['num_hidden_layers'] = Number(values.layers);
  // The tokenizer of the default model, whose end of text is 0.
  json['bos_token_id'] = 0;
  json['eos_token_id'] = 0;
  const config = parseModelConfig(json, name);
  await mkdir(out, { recursive: true });
  await writeFile(join(out, 'config.json'), JSON.stringify(json, null, 2));
  for (const file of ['tokenizer.json', 'tokenizer_config.json', 'generation_config.json']) {
    await copyFile(join(TOKENIZER, file), join(out, file));
  }
  const files = intoFiles(allTensors(config));
  const writer = new RandomWriter(Number(values.seed), values.sparse);
  const weightMap: Record<string, string> = {};
  for (const [i, tensors] of files.entries()) {
    const file = `model-${number(i + 1)}-of-${number(files.length)}.safetensors`;
    await writer.write(join(out, file), tensors);
    for (const tensor of tensors) weightMap[tensor.name] = file;
    process.stderr.write(`${i + 1} of ${files.length} files\n`);
  }
  await writeFile(join(out, 'model.safetensors.index.json'), JSON.stringify({ weight_map: weightMap }));
  return 0;
}

const number = (n: number): string => `${n}`.padStart(5, '0');
const bytesOf = ({ shape }: TensorSpec): number => shape.reduce((a, b) => a * b, BF16_BYTES);

function allTensors(config: ModelConfig): TensorSpec[] {
  const experts = moeLayers(config).flatMap((layer) =>
    Array.from({ length: config.nRoutedExperts }, (_, expert) => Object.values(expertTensors(config, layer, expert))),
  );
  return [...listDenseTensors(config), ...experts.flat()];
}

function intoFiles(tensors: readonly TensorSpec[]): TensorSpec[][] {
  const files: TensorSpec[][] = [[]];
  let bytes = 0;
  for (const tensor of tensors) {
    if (bytes + bytesOf(tensor) > MAX_FILE_BYTES && files.at(-1)!.length > 0) {
      files.push([]);
      bytes = 0;
    }
    files.at(-1)!.push(tensor);
    bytes += bytesOf(tensor);
  }
  return files;
}

/** Writes safetensors files whose values are cut from pools of random numbers, one pool for each standard deviation. */
class RandomWriter {
  readonly #rng: Rng;
  readonly #sparse: boolean;
  readonly #normal: Float32Array;
  readonly #pools = new Map<number, Uint16Array>();

  constructor(seed: number, sparse: boolean) {
    this.#rng = createRng(seed);
    this.#sparse = sparse;
    const rng = this.#rng;
    this.#normal = Float32Array.from({ length: POOL_VALUES }, () => {
      return Math.sqrt(-2 * Math.log(1 - rng())) * Math.cos(2 * Math.PI * rng());
    });
  }

  async write(path: string, tensors: readonly TensorSpec[]): Promise<void> {
    let offset = 0;
    const table = tensors.map((tensor) => {
      const range = [offset, (offset += bytesOf(tensor))];
      return [tensor.name, { dtype: 'BF16', shape: tensor.shape, data_offsets: range }];
    });
    const json = Buffer.from(JSON.stringify(Object.fromEntries(table)));
    // Padded, so that tensors start on 8 bytes.
    const header = Buffer.alloc(8 + Math.ceil(json.length / 8) * 8, ' ');
    header.writeBigUInt64LE(BigInt(header.length - 8));
    json.copy(header, 8);
    const file = await open(path, 'w');
    try {
      await file.writeFile(header);
      if (this.#sparse) await file.truncate(header.length + offset);
      else for (const tensor of tensors) await this.#fill(file, tensor);
    } finally {
      await file.close();
    }
  }

  async #fill(file: FileHandle, { name, shape }: TensorSpec): Promise<void> {
    const isNorm = shape.length === 1 && !name.endsWith('bias');
    const pool = isNorm ? bf16(new Float32Array(POOL_VALUES).fill(1)) : this.#pool(shape);
    let left = shape.reduce((a, b) => a * b, 1);
    while (left > 0) {
      const start = Math.floor(this.#rng() * (POOL_VALUES / 2));
      const count = Math.min(left, POOL_VALUES - start);
      await file.writeFile(new Uint8Array(pool.buffer, start * BF16_BYTES, count * BF16_BYTES));
      left -= count;
    }
  }

  /** Of standard deviation 1/√columns, so that activations keep their size from layer to layer. */
  #pool(shape: readonly number[]): Uint16Array {
    const deviation = 1 / Math.sqrt(shape.at(-1)!);
    let pool = this.#pools.get(deviation);
    if (!pool) this.#pools.set(deviation, (pool = bf16(this.#normal.map((value) => value * deviation))));
    return pool;
  }
}

/** The upper half of each float32. */
function bf16(floats: Float32Array): Uint16Array {
  const words = new Uint32Array(floats.buffer, floats.byteOffset, floats.length);
  return Uint16Array.from(words, (word) => word >>> 16);
}

process.exitCode = await main();
