import { CheckpointError } from './errors.ts';
import { familyOf } from './families/index.ts';
import { isMoeLayer, type ModelConfig } from './model-config.ts';
import { expertTensors, listDenseTensors, listTensorSpecs, type TensorSpec } from './tensors.ts';

/** What `checkTensors` asks of a checkpoint. */
export interface StoredTensors {
  readonly dir: string;
  /** All stored tensors. */
  readonly tensors: readonly string[];
  /** Names of the stored tensors that a spec consists of. Throws if one is missing or has another type or shape. */
  namesOf(spec: TensorSpec): readonly string[];
}

/** Tensors that some checkpoints store although every implementation computes or shares them. */
const REDUNDANT = [
  /\.rotary_emb\.inv_freq$/,
  /(^|\.)model\.layers\.\d+\.embed_tokens\.weight$/,
  /(^|\.)model\.layers\.\d+\.shared_head\.head\.weight$/,
];

/** Ranges of activations and of a quantised KV cache: neither is quantised here, and the weights don't depend on them. */
const OF_ACTIVATIONS =
  /\.(input_scale|input_global_scale|input_zero_point|activation_scale|output_scale|prob_scale|kv_scale|[kqv]_scale)$/;

/**
 * Checks that a checkpoint holds every tensor of `specs` in the right type and shape, and no other: a bias that is
 * not added changes every answer. Reads no weights. Throws CheckpointError `missing-tensor`, `wrong-dtype`, `wrong-shape`,
 * `contradiction` or `unknown-tensor`.
 */
export function checkTensors(config: ModelConfig, specs: readonly TensorSpec[], table: StoredTensors): void {
  const known = new Set<string>();
  for (const spec of specs) for (const name of table.namesOf(spec)) known.add(name);
  const family = familyOf(config.modelType);
  const head = family.storedAt('lm_head.weight', config).name;
  const others = [...REDUNDANT, ...(config.quantisation ? [OF_ACTIVATIONS] : []), ...(family.ignoredTensors ?? [])];
  for (const name of table.tensors) {
    const tiedHead = name === head && config.tieWordEmbeddings;
    if (known.has(name) || tiedHead || others.some((pattern) => pattern.test(name))) continue;
    const detail = 'is not used by the model in config.json, so its effect would be lost: is this the right config?';
    throw new CheckpointError('unknown-tensor', table.dir, name, detail);
  }
}

/** Every tensor of a model. */
export function allTensors(config: ModelConfig): TensorSpec[] {
  const experts = config.layerKinds.flatMap((_, layer) =>
    isMoeLayer(config, layer)
      ? Array.from({ length: config.nRoutedExperts }, (_, expert) => expertTensors(config, layer, expert))
      : [],
  );
  return [...listDenseTensors(config), ...listTensorSpecs(experts)];
}

/** Throws CheckpointError `wrong-shape`. */
export function requireShape(stored: readonly number[], expected: readonly number[], file: string, name: string): void {
  if (stored.length === expected.length && stored.every((size, i) => size === expected[i])) return;
  const detail = `shape is [${stored.join(', ')}], but config.json requires [${expected.join(', ')}]`;
  throw new CheckpointError('wrong-shape', file, name, detail);
}
