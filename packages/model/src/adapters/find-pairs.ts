import type { ModelConfig } from '../model-config.ts';
import { floatDtypes } from '../safetensors.ts';
import type { WeightFile } from '../weight-files.ts';
import type { AdapterConfig } from './adapter-config.ts';
import { AdapterError } from './adapter-error.ts';
import { type AdapterModule, adapterModules } from './adapter-modules.ts';
import type { AdapterTarget } from './adapter.ts';
import { type ExpertModule, expertModules, stackedExperts, stackedLayer } from './expert-modules.ts';

export const ADAPTER_WEIGHTS_FILE = 'adapter_model.safetensors';

/** Every so many-th of a matrix's rows or columns. */
interface Stride {
  first: number;
  step: number;
}

/** One matrix of the model that a pair changes, and what of the pair is its own. */
export interface Piece {
  at: { layer: number; target: AdapterTarget } | Pick<ExpertModule, 'layer' | 'expert' | 'part'>;
  outDim: number;
  inDim: number;
  /** The first of its rows of A. */
  firstRowOfA: number;
  /** Its rows and columns of B. */
  rows: Stride;
  columns: Stride;
}

/** The two tensors of a module, and what they change. */
export interface Pair {
  module: string;
  a: string;
  b: string;
  /** Of each piece; A has `stacked` times as many rows. */
  rank: number;
  stacked: number;
  scale: number;
  pieces: readonly Piece[];
  /** Of A and B as float32. */
  bytes: number;
  isExperts: boolean;
}

const TENSOR = /^(?:base_model\.model\.)?(.+)\.lora_([AB])(?:\.default)?\.weight$/;
const WHOLE: Stride = { first: 0, step: 1 };

/** The pairs of an adapter's file. Throws an AdapterError that names the tensor. */
export function findPairs(file: WeightFile, config: AdapterConfig, model: ModelConfig): Pair[] {
  const found = new Map<string, Partial<Record<'A' | 'B', string>>>();
  for (const tensor of file.table.keys()) {
    const [, module, part] = TENSOR.exec(tensor) ?? [];
    if (module === undefined) throw unknownTensor(tensor);
    const pair = found.get(module) ?? {};
    pair[part as 'A' | 'B'] = tensor;
    found.set(module, pair);
  }
  if (found.size === 0) throw new AdapterError('bad-value', `${ADAPTER_WEIGHTS_FILE} has no tensors`);
  const modules = new Modules(file, config, model);
  return [...found].map(([module, { A: a, B: b }]) => {
    if (a !== undefined && b !== undefined) return modules.pair(module, a, b);
    const [there, missing] = a === undefined ? ['lora_B', 'lora_A'] : ['lora_A', 'lora_B'];
    throw new AdapterError('bad-value', `${ADAPTER_WEIGHTS_FILE}: ${module} has a ${there} but no ${missing}`);
  });
}

function unknownTensor(tensor: string): AdapterError {
  const problem = /lora_magnitude/.test(tensor)
    ? 'belongs to DoRA, which is not computed'
    : /lora_embedding/.test(tensor)
      ? 'changes an embedding, which is not computed'
      : 'is no lora_A or lora_B of a matrix';
  return new AdapterError('unsupported', `${ADAPTER_WEIGHTS_FILE}: tensor ${tensor} ${problem}`);
}

/** Throws an AdapterError for a tensor that holds no floats. */
export function checkDtype({ name, table }: WeightFile, tensor: string): void {
  const { dtype } = table.get(tensor)!;
  if (floatDtypes.includes(dtype)) return;
  throw new AdapterError('unsupported', `${name}: tensor ${tensor} is ${dtype}; ${floatDtypes.join(', ')} are read`);
}

/** What the modules of a model are. */
class Modules {
  readonly #file: WeightFile;
  readonly #config: AdapterConfig;
  readonly #model: ModelConfig;
  readonly #dense: ReadonlyMap<string, AdapterModule[]>;
  #experts: ReadonlyMap<string, ExpertModule> | undefined;

  constructor(file: WeightFile, config: AdapterConfig, model: ModelConfig) {
    this.#file = file;
    this.#config = config;
    this.#model = model;
    this.#dense = adapterModules(model);
  }

  pair(module: string, a: string, b: string): Pair {
    // A model that sees has the text model as a part.
    const inText = module.replace(/^(?:model\.)?language_model\.(?:model\.)?/, 'model.');
    for (const name of [module, inText]) {
      const dense = this.#dense.get(name);
      if (dense) return this.#densePair(module, a, b, dense);
      const expert = this.#expertOf(name);
      if (expert) return this.#expertPair(module, a, b, expert);
      const layer = stackedLayer(name);
      if (layer !== undefined) return this.#stackedPair(name, a, b, layer);
    }
    const what = `${ADAPTER_WEIGHTS_FILE} changes ${module}`;
    if (/(^|\.)(lm_head|embed_tokens)$/.test(module)) {
      throw new AdapterError('unsupported', `${what}: adapters of the embedding and the output head are not computed`);
    }
    throw new AdapterError('other-model', `${what}, which this model does not have: it was made for another model`);
  }

  #expertOf(name: string): ExpertModule | undefined {
    if (!/\.experts\.\d+\./.test(name)) return undefined;
    this.#experts ??= expertModules(this.#model);
    return this.#experts.get(name);
  }

  #densePair(module: string, a: string, b: string, parts: readonly AdapterModule[]): Pair {
    const rank = this.#config.rankOf(module);
    const { inDim, moduleDim } = parts[0]!;
    this.#check(a, [rank, inDim]);
    this.#check(b, [moduleDim, rank]);
    const pieces = parts.map(({ layer, target, outDim, rows }) => {
      return { at: { layer, target }, outDim, inDim, firstRowOfA: 0, rows, columns: WHOLE };
    });
    // Each matrix has both.
    const bytes = pieces.reduce((sum, { outDim }) => sum + 4 * rank * (inDim + outDim), 0);
    return { module, a, b, rank, stacked: 1, scale: this.#config.scaleOf(module), pieces, bytes, isExperts: false };
  }

  #expertPair(module: string, a: string, b: string, { outDim, inDim, ...at }: ExpertModule): Pair {
    const rank = this.#config.rankOf(module);
    this.#check(a, [rank, inDim]);
    this.#check(b, [outDim, rank]);
    const piece = { at, outDim, inDim, firstRowOfA: 0, rows: WHOLE, columns: WHOLE };
    const bytes = 4 * rank * (inDim + outDim);
    const scale = this.#config.scaleOf(module);
    return { module, a, b, rank, stacked: 1, scale, pieces: [piece], bytes, isExperts: true };
  }

  /** PEFT's `ParamWrapper`: A is [experts × rank, in], B is [out, rank × experts], with the experts of a rank together. */
  #stackedPair(module: string, a: string, b: string, layer: number): Pair {
    const { nRoutedExperts: stacked } = this.#model;
    const [inDim, outDim] = [this.#file.table.get(a)!.shape[1] ?? 0, this.#file.table.get(b)!.shape[0] ?? 0];
    const experts = stackedExperts(this.#model, layer, inDim, outDim);
    if (!experts) {
      const problem = `has ${inDim} inputs and ${outDim} outputs, as none of this model's routed experts`;
      throw new AdapterError('other-model', `${ADAPTER_WEIGHTS_FILE}: ${module} ${problem}`);
    }
    const name = `model.layers.${layer}.mlp.experts.${experts.parameter}`;
    const rank = this.#config.rankOf(name);
    this.#check(a, [stacked * rank, inDim]);
    this.#check(b, [outDim, rank * stacked]);
    const pieces = experts.parts.flatMap(({ part, outDim: own, rows }) =>
      Array.from({ length: stacked }, (_, expert): Piece => {
        const columns = { first: expert, step: stacked };
        return { at: { layer, expert, part }, outDim: own, inDim, firstRowOfA: expert * rank, rows, columns };
      }),
    );
    const bytes = 4 * rank * stacked * (inDim + outDim);
    return { module: name, a, b, rank, stacked, scale: this.#config.scaleOf(name), pieces, bytes, isExperts: true };
  }

  #check(tensor: string, shape: readonly [number, number]): void {
    checkDtype(this.#file, tensor);
    const info = this.#file.table.get(tensor)!;
    const at = `${ADAPTER_WEIGHTS_FILE}: tensor ${tensor}`;
    if (info.shape.length === 2 && info.shape.every((size, i) => size === shape[i])) return;
    throw new AdapterError(
      'other-model',
      `${at} is [${info.shape}], and this model and the adapter's rank need [${shape}]: it was made for another model`,
    );
  }
}
