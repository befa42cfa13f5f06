import { CheckpointError } from './errors.ts';
import { isMoeLayer, type ModelConfig } from './model-config.ts';
import { expertTensors, listDenseTensors, listTensorSpecs, type TensorSpec } from './tensors.ts';

/** What `checkTensors` asks of a checkpoint. */
export interface StoredTensors {
  readonly dir: string;
  readonly tensors: readonly string[];
  has(name: string): boolean;
  info(name: string): { shape: readonly number[] };
}

/** Stored by some checkpoints, and computed or shared by every implementation. */
const REDUNDANT = [
  /\.rotary_emb\.inv_freq$/,
  /^model\.layers\.\d+\.embed_tokens\.weight$/,
  /^model\.layers\.\d+\.shared_head\.head\.weight$/,
];
const SCALE_SUFFIX = '_scale_inv';

/**
 * That a checkpoint holds every tensor of its config, each in its shape, and none that would be passed over: a bias that is not
 * added changes every answer. Reads no weights. Throws CheckpointError `missing-tensor`, `wrong-shape` or `unknown-tensor`.
 */
export function checkTensors(config: ModelConfig, table: StoredTensors): void {
  const known = new Set<string>();
  for (const spec of allTensors(config)) {
    known.add(spec.name);
    checkShape(table, spec);
  }
  for (const name of table.tensors) {
    const owner = name.endsWith(SCALE_SUFFIX) ? name.slice(0, -SCALE_SUFFIX.length) : name;
    const tiedHead = name === 'lm_head.weight' && config.tieWordEmbeddings;
    if (known.has(owner) || tiedHead || REDUNDANT.some((pattern) => pattern.test(name))) continue;
    throw new CheckpointError(
      'unknown-tensor',
      table.dir,
      name,
      'is no tensor that config.json asks for, and its effect would be lost: is this the config of another model?',
    );
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

function checkShape(table: StoredTensors, { name, shape }: TensorSpec): void {
  if (!table.has(name)) {
    throw new CheckpointError('missing-tensor', table.dir, name, 'is not stored, and config.json asks for it');
  }
  const stored = table.info(name).shape;
  if (stored.length === shape.length && stored.every((size, i) => size === shape[i])) return;
  throw new CheckpointError(
    'wrong-shape',
    table.dir,
    name,
    `shape is [${stored.join(', ')}], config.json asks for [${shape.join(', ')}]`,
  );
}
