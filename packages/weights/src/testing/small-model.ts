import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expertTensors, listDenseTensors, listTensorSpecs, parseModelConfig, type TensorSpec } from '@shoal/model';

/** The repository's default model. */
export const DEFAULT_MODEL = join(import.meta.dirname, '../../../../models/tiny-stories');

/** A tensor as a file has it. */
export interface StoredTensor {
  name: string;
  dtype: string;
  shape: readonly number[];
  bytes: Uint8Array;
}

export interface SmallModelOptions {
  /** Replaces keys of its config. */
  config?: Record<string, unknown>;
  /** How a tensor is stored; undefined: in F32. */
  store?: (name: string, shape: readonly number[], values: Float32Array) => StoredTensor[] | undefined;
}

/** Writes a checkpoint like the default model's, as small as its config allows and complete. Experts 0 and 1 are the same. */
export async function writeSmallModel(
  dir: string,
  seed = 1,
  extra: TensorSpec[] = [],
  { config: changes = {}, store = () => undefined }: SmallModelOptions = {},
): Promise<void> {
  await mkdir(dir, { recursive: true });
  const given = JSON.parse(await readFile(join(DEFAULT_MODEL, 'config.json'), 'utf8')) as Record<string, unknown>;
  const small = {
    hidden_size: 24,
    moe_intermediate_size: 8,
    num_hidden_layers: 2,
    n_routed_experts: 4,
    vocab_size: 16,
  };
  const groups = { n_group: 1, topk_group: 1, num_experts_per_tok: 1, num_nextn_predict_layers: 0 };
  const json = { ...given, ...small, ...groups, ...changes };
  await writeFile(join(dir, 'config.json'), JSON.stringify(json));
  const config = parseModelConfig(json);
  const experts = [0, 1, 2, 3].map((expert) => expertTensors(config, 1, expert));
  const tensors = [...listDenseTensors(config), ...extra, ...listTensorSpecs(experts)];
  let end = 0;
  const header: Record<string, unknown> = {};
  const data: Buffer[] = [];
  for (const { name, shape } of tensors) {
    const length = shape.reduce((product, size) => product * size, 1);
    const phase =
      seed * 10 + [...name.replace('.experts.1.', '.experts.0.')].reduce((sum, c) => sum + c.charCodeAt(0), 0);
    const values = Float32Array.from({ length }, (_, i) => Math.sin(i + phase));
    const plain = { name, dtype: 'F32', shape, bytes: new Uint8Array(values.buffer) };
    for (const stored of store(name, shape, values) ?? [plain]) {
      const { dtype, bytes } = stored;
      header[stored.name] = { dtype, shape: stored.shape, data_offsets: [end, (end += bytes.byteLength)] };
      data.push(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    }
  }
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  await writeFile(join(dir, 'model.safetensors'), Buffer.concat([length, text, ...data]));
}
