import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  createReferenceEngine,
  createRng,
  type ExpertDispatch,
  expertLayers,
  expertTensors,
  type ExpertWeights,
  isGated,
  listTensorSpecs,
  loadDenseWeights,
  loadExpert,
  type ModelConfig,
  normalDraw,
  parseHeader,
  PREFIX_BYTES,
  readHeaderLength,
} from '@shoal/model';
import { openCheckpoint } from '@shoal/model/node';
import { addExpert64 } from '../../packages/kernels/src/testing/conformance-bench.ts';
import { qwen3Moe } from '../../packages/model/src/families/qwen3-moe.ts';
import { fixtureDir } from '../golden/families.ts';

export type ExpertKind = ModelConfig['expert'];

/** Of biases, about as large as the products that they are added to. */
const BIAS_DEVIATION = 0.3;
const SEED = 7;

const { toConfig } = qwen3Moe;

/**
 * No config of a served family names every kind of expert. From here on, in this thread, qwen3_moe's experts are of this kind;
 * undefined: of their own.
 */
export function setExpertKind(kind: ExpertKind | undefined): void {
  qwen3Moe.toConfig = kind ? (raw, where) => ({ ...toConfig(raw, where), expert: kind }) : toConfig;
}

/**
 * Copies the fixture of qwen3_moe, with the experts' biases and without their gate matrices, as the kind that was set has it.
 */
export async function writeModelOfKind(dir: string, { activation, bias }: ExpertKind): Promise<void> {
  await cp(fixtureDir('qwen3-moe'), dir, { recursive: true });
  const path = join(dir, 'model.safetensors');
  const file = await readFile(path);
  const headerBytes = readHeaderLength(file.subarray(0, PREFIX_BYTES), file.byteLength, path);
  const table = parseHeader(file.subarray(PREFIX_BYTES, PREFIX_BYTES + headerBytes), file.byteLength, path);
  const stored = [...table]
    .filter(([name]) => isGated(activation) || !/\.experts\..*gate_proj/.test(name))
    .map(([name, { dtype, shape, offset, bytes }]) => ({
      name,
      dtype,
      shape,
      data: file.subarray(offset, offset + bytes),
    }));
  if (bias) stored.push(...(await biases(dir)));
  let end = 0;
  const entries = stored.map(({ name, dtype, shape, data }) => {
    return [name, { dtype, shape, data_offsets: [end, (end += data.byteLength)] }];
  });
  const header = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  const length = Buffer.alloc(PREFIX_BYTES);
  length.writeBigUInt64LE(BigInt(header.byteLength));
  await writeFile(path, Buffer.concat([length, header, ...stored.map(({ data }) => data)]));
}

async function biases(dir: string) {
  const random = createRng(SEED);
  const checkpoint = await openCheckpoint(dir);
  const { config } = checkpoint;
  await checkpoint.close();
  const experts = expertLayers(config).flatMap((layer) =>
    Array.from({ length: config.nRoutedExperts }, (_, expert) => expertTensors(config, layer, expert).biases),
  );
  return listTensorSpecs(experts).map(({ name, shape }) => {
    const values = Float32Array.from({ length: shape[0]! }, () => BIAS_DEVIATION * normalDraw(random));
    return { name, dtype: 'F32' as const, shape, data: Buffer.from(values.buffer) };
  });
}

/** Greedy ids after a prompt, each with its logit's lead: the reference forward in float32, experts in float64. */
export async function greedyReference(
  dir: string,
  prompt: readonly number[],
  maxTokens: number,
): Promise<{ ids: number[]; leads: number[] }> {
  const checkpoint = await openCheckpoint(dir);
  try {
    const { config } = checkpoint;
    const engine = createReferenceEngine({ config, weights: await loadDenseWeights(config, checkpoint) });
    const loaded = new Map<string, ExpertWeights>();
    for (const layer of expertLayers(config))
      for (let expert = 0; expert < config.nRoutedExperts; expert++)
        loaded.set(`${layer}/${expert}`, await loadExpert(config, checkpoint, layer, expert));
    const experts = float64Experts(config, loaded);
    const cache = engine.newSequence();
    const [ids, leads]: [number[], number[]] = [[], []];
    let next = [...prompt];
    while (ids.length < maxTokens) {
      const start = cache.length;
      const rows = next.map((tokenId, i) => ({ tokenId, position: start + i, cache, wantLogits: true }));
      const { logits } = await engine.forward(rows, experts);
      const last = logits.at(-1)!;
      const [first, second] = [...last.keys()].sort((a, b) => last[b]! - last[a]!);
      ids.push(first!);
      leads.push(last[first!]! - last[second!]!);
      next = [first!];
    }
    return { ids, leads };
  } finally {
    await checkpoint.close();
  }
}

function float64Experts(config: ModelConfig, loaded: ReadonlyMap<string, ExpertWeights>): ExpertDispatch {
  const { hiddenSize, numExpertsPerTok: k, expert } = config;
  return {
    dispatch: ({ layer, numRows, x, topkIdx, topkWeights }) => {
      const sums = new Float64Array(numRows * hiddenSize);
      for (let slot = 0; slot < numRows * k; slot++) {
        const from = Math.floor(slot / k) * hiddenSize;
        const row = Float64Array.from(x.subarray(from, from + hiddenSize));
        const weights = loaded.get(`${layer}/${topkIdx[slot]!}`)!;
        addExpert64(weights, expert.activation, row, topkWeights[slot]!, sums.subarray(from, from + hiddenSize));
      }
      return { combine: () => Promise.resolve(Float32Array.from(sums)) };
    },
  };
}
