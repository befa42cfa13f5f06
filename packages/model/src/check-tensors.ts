import { CheckpointError } from './errors.ts';
import { familyOf } from './families/index.ts';
import { isMoeLayer, type ModelConfig } from './model-config.ts';
import { storedShape } from './stored-part.ts';
import { expertTensors, listDenseTensors, listTensorSpecs, type TensorSpec } from './tensors.ts';

/** What `checkTensors` asks of a checkpoint. */
export interface StoredTensors {
  readonly dir: string;
  readonly tensors: readonly string[];
  has(spec: TensorSpec): boolean;
  info(name: string): { shape: readonly number[] };
}

/** Tensors that some checkpoints store although every implementation computes or shares them. */
const REDUNDANT = [
  /\.rotary_emb\.inv_freq$/,
  /^model\.layers\.\d+\.embed_tokens\.weight$/,
  /^model\.layers\.\d+\.shared_head\.head\.weight$/,
];
const SCALE_SUFFIX = '_scale_inv';

/**
 * Checks that a checkpoint holds every tensor that its config implies, in the right shape, and no other: a bias that is not
 * added changes every answer. Reads no weights. Throws CheckpointError `missing-tensor`, `wrong-shape` or `unknown-tensor`.
 */
export function checkTensors(config: ModelConfig, table: StoredTensors): void {
  const known = new Set<string>();
  for (const spec of allTensors(config)) {
    known.add(spec.stored.name);
    checkShape(config, table, spec);
  }
  for (const name of table.tensors) {
    const owner = name.endsWith(SCALE_SUFFIX) ? name.slice(0, -SCALE_SUFFIX.length) : name;
    const tiedHead = name === 'lm_head.weight' && config.tieWordEmbeddings;
    const others = [...REDUNDANT, ...(familyOf(config.modelType).ignoredTensors ?? [])];
    if (known.has(owner) || tiedHead || others.some((pattern) => pattern.test(name))) continue;
    const detail = 'is not used by the model in config.json, so its effect would be lost: is this the right config?';
    throw new CheckpointError('unknown-tensor', table.dir, name, detail);
  }
}

function allTensors(config: ModelConfig): TensorSpec[] {
  const experts = config.layerKinds.flatMap((_, layer) =>
    isMoeLayer(config, layer)
      ? Array.from({ length: config.nRoutedExperts }, (_, expert) => expertTensors(config, layer, expert))
      : [],
  );
  return [...listDenseTensors(config), ...listTensorSpecs(experts)];
}

function checkShape(config: ModelConfig, table: StoredTensors, spec: TensorSpec): void {
  const { name } = spec.stored;
  if (!table.has(spec)) {
    throw new CheckpointError('missing-tensor', table.dir, name, 'is not stored, but config.json requires it');
  }
  requireShape(table.info(name).shape, storedShape(spec, config.nRoutedExperts), table.dir, name);
}

/** Throws CheckpointError `wrong-shape`. */
export function requireShape(stored: readonly number[], expected: readonly number[], file: string, name: string): void {
  if (stored.length === expected.length && stored.every((size, i) => size === expected[i])) return;
  const detail = `shape is [${stored.join(', ')}], but config.json requires [${expected.join(', ')}]`;
  throw new CheckpointError('wrong-shape', file, name, detail);
}
