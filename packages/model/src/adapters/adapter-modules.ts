import type { ModelConfig } from '../model-config.ts';
import { layerTensors, TensorSpec } from '../tensors.ts';
import type { AdapterTarget } from './adapter.ts';

/** The matrix that a module of transformers' model is, or holds. */
export interface AdapterModule {
  layer: number;
  target: AdapterTarget;
  /** Of the matrix. */
  outDim: number;
  inDim: number;
  /** Of a module that holds several matrices: which of its outputs are this one's. */
  rows: { first: number; step: number };
  /** Outputs of the module. */
  moduleDim: number;
}

/** Where `layerTensors` has the matrices that an adapter may change, in the order of transformers' modules. */
const PATHS: Readonly<Record<string, AdapterTarget>> = {
  'attention.qProj': 'q',
  'attention.kProj': 'k',
  'attention.vProj': 'v',
  'attention.q.proj': 'q',
  'attention.q.aProj': 'qA',
  'attention.q.bProj': 'qB',
  'attention.kvAProjWithMqa': 'kvA',
  'attention.kvBProj': 'kvB',
  'attention.oProj': 'o',
  'ffn.mlp.gate': 'gate',
  'ffn.mlp.up': 'up',
  'ffn.mlp.down': 'down',
  'ffn.shared.gate': 'gate',
  'ffn.shared.up': 'up',
  'ffn.shared.down': 'down',
  'ffn.gate.weight': 'moeGate',
  'ffn.sharedGate': 'sharedGate',
};

/**
 * The modules that an adapter may change, by name: as our tensors are named, which are the names of transformers' modules in most
 * families, and as checkpoints have them. A module that holds several matrices has an entry for each.
 */
export function adapterModules(config: ModelConfig): Map<string, AdapterModule[]> {
  const modules = new Map<string, AdapterModule[]>();
  const add = (name: string, module: AdapterModule): void => {
    const others = modules.get(name)?.filter(({ target }) => target !== module.target) ?? [];
    modules.set(name, [...others, module]);
  };
  for (let layer = 0; layer < config.numHiddenLayers; layer++) {
    for (const [path, target] of Object.entries(PATHS)) {
      const spec = specAt(layerTensors(config, layer), path.split('.'));
      if (!spec) continue;
      const [outDim, inDim] = spec.shape as [number, number];
      const whole = { layer, target, outDim, inDim, rows: { first: 0, step: 1 }, moduleDim: outDim };
      add(moduleOf(spec.name), whole);
      const { name, rows } = spec.stored;
      // A module that holds gate and up is twice as wide.
      add(moduleOf(name), rows ? { ...whole, rows, moduleDim: 2 * outDim } : whole);
    }
  }
  return modules;
}

/** Modules of transformers' model that are `nn.Linear`, in its order; one that holds several matrices has an entry for each. */
export function linearModules(config: ModelConfig): { layer: number; target: AdapterTarget; module: string }[] {
  return Array.from({ length: config.numHiddenLayers }, (_, layer) => {
    const tensors = layerTensors(config, layer);
    return Object.entries(PATHS).flatMap(([path, target]) => {
      const spec = specAt(tensors, path.split('.'));
      return spec && target !== 'moeGate' ? [{ layer, target, module: moduleOf(spec.stored.name) }] : [];
    });
  }).flat();
}

const moduleOf = (tensor: string): string => tensor.replace(/\.weight$/, '');

function specAt(part: unknown, path: readonly string[]): TensorSpec | undefined {
  const [key, ...rest] = path;
  if (key === undefined) return part instanceof TensorSpec ? part : undefined;
  if (typeof part !== 'object' || part === null) return undefined;
  return specAt((part as Record<string, unknown>)[key], rest);
}
