import type { ModelConfig } from '../model-config.ts';
import { expertLayers } from '../model-config.ts';
import { expertTensors } from '../tensors.ts';

/** A matrix of a routed expert, as a module of transformers' model. */
export interface ExpertModule {
  layer: number;
  expert: number;
  part: 'gate' | 'up' | 'down';
  outDim: number;
  inDim: number;
}

const PARTS = ['gate', 'up', 'down'] as const;

/** The matrices of routed experts by name, where each expert is a module: as our tensors are named, and as checkpoints have them. */
export function expertModules(config: ModelConfig): Map<string, ExpertModule> {
  const modules = new Map<string, ExpertModule>();
  for (const layer of mainLayers(config)) {
    for (let expert = 0; expert < config.nRoutedExperts; expert++) {
      const specs = expertTensors(config, layer, expert);
      for (const part of PARTS) {
        const spec = specs[part];
        if (!spec) continue;
        const [outDim, inDim] = spec.shape as [number, number];
        const { name, index, rows } = spec.stored;
        const names = index === undefined && !rows ? [spec.name, name] : [spec.name];
        for (const each of names) modules.set(each.replace(/\.weight$/, ''), { layer, expert, part, outDim, inDim });
      }
    }
  }
  return modules;
}

/** One of the two parameters in which transformers 5 stacks the experts of a layer. */
export interface StackedExperts {
  layer: number;
  /** As PEFT's `target_parameters` and patterns name it. */
  parameter: 'gate_up_proj' | 'down_proj';
  inDim: number;
  /** Of each expert: the outputs of gate and up together, or of down. */
  outDim: number;
  /** Which outputs are whose. */
  parts: readonly { part: ExpertModule['part']; outDim: number; rows: { first: number; step: number } }[];
}

/** The module `…mlp.experts` of a layer, or what PEFT wraps in it; undefined if a module is none of these. */
export function stackedLayer(module: string): number | undefined {
  const layer = /^model\.layers\.(\d+)\.(?:mlp|block_sparse_moe|feed_forward)\.experts(?:\.base_layer)?$/.exec(
    module,
  )?.[1];
  return layer === undefined ? undefined : Number(layer);
}

/**
 * The stacked parameter whose inputs and outputs a pair of matrices has. Which of two pairs is which parameter's, PEFT's names
 * don't say: the first that is wrapped is the inner one. Undefined where neither fits.
 */
export function stackedExperts(
  config: ModelConfig,
  layer: number,
  inDim: number,
  outDim: number,
): StackedExperts | undefined {
  if (!mainLayers(config).includes(layer)) return undefined;
  const { hiddenSize, moeIntermediateSize: width } = config;
  if (inDim === hiddenSize && outDim === 2 * width) {
    const { gate, up } = expertTensors(config, layer, 0);
    // Interleaved in gpt-oss; one after the other in all others.
    const rowsOf = (part: 'gate' | 'up') => (part === 'gate' ? gate : up)?.stored.rows;
    const parts = (['gate', 'up'] as const).map((part, i) => {
      return { part, outDim: width, rows: rowsOf(part) ?? { first: i * width, step: 1 } };
    });
    return { layer, parameter: 'gate_up_proj', inDim, outDim, parts };
  }
  if (inDim !== width || outDim !== hiddenSize) return undefined;
  const part = { part: 'down' as const, outDim, rows: { first: 0, step: 1 } };
  return { layer, parameter: 'down_proj', inDim, outDim, parts: [part] };
}

/** Layers with routed experts, but for the MTP module's. */
function mainLayers(config: ModelConfig): number[] {
  return expertLayers(config).filter((layer) => layer < config.numHiddenLayers);
}
