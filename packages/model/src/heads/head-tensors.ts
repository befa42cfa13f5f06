import { layerTensors, listTensorSpecs, TensorSpec } from '../tensors.ts';
import { type LayerWeights, readAll, type TensorReader } from '../weights.ts';
import type { HeadConfig } from './head-config.ts';

const spec = (name: string, shape: readonly number[]): TensorSpec => new TensorSpec(`head.${name}`, shape, { name });

/** A decoder layer's tensors under their stored names; of an EAGLE-3 head's first, queries, keys and values are of two rows side by side. */
function headLayer({ transformer, head, stored }: HeadConfig, layer: number) {
  const prefix = layer === 0 ? stored.firstLayer : `layers.${layer}.`;
  const isJoined = head.kind === 'eagle3' && layer === 0;
  const joined = /self_attn\.[qkv]_proj\.weight$/;
  const named = (part: unknown): unknown => {
    if (part instanceof TensorSpec) {
      const name = part.name.replace(`model.layers.${layer}.`, prefix);
      const [rows, cols] = part.shape;
      return spec(name, isJoined && joined.test(name) ? [rows!, 2 * cols!] : part.shape);
    }
    if (typeof part !== 'object' || part === null) return part;
    return Object.fromEntries(Object.entries(part).map(([key, child]) => [key, named(child)]));
  };
  return named(layerTensors(transformer, layer)) as ReturnType<typeof layerTensors>;
}

/** All tensors of a head but the maps between vocabularies, in the structure of `HeadWeights`. */
export function headTensors(config: HeadConfig) {
  const { transformer, draftVocabSize, auxiliaryLayers, targetHiddenSize, stored, head } = config;
  const { hiddenSize, vocabSize, numHiddenLayers } = transformer;
  const joinedSize = auxiliaryLayers.length * targetHiddenSize;
  const isEagle = head.kind === 'eagle3';
  const fcNorm = isEagle ? head.fcNorm : 'none';
  return {
    embedTokens: stored.embedding ? spec('embed_tokens.weight', [vocabSize, hiddenSize]) : null,
    fc: spec('fc.weight', [hiddenSize, joinedSize]),
    inputNorm: fcNorm === 'whole' ? spec('input_norm.weight', [joinedSize]) : null,
    fcNorms: fcNorm === 'each' ? auxiliaryLayers.map((_, i) => spec(`fc_norm.${i}.weight`, [targetHiddenSize])) : null,
    hiddenNorm: spec(isEagle ? `${stored.firstLayer}hidden_norm.weight` : 'hidden_norm.weight', [hiddenSize]),
    layers: Array.from({ length: numHiddenLayers }, (_, layer) => headLayer(config, layer)),
    norm: spec('norm.weight', [hiddenSize]),
    lmHead: stored.output ? spec('lm_head.weight', [draftVocabSize, hiddenSize]) : null,
  };
}

export function listHeadTensors(config: HeadConfig): TensorSpec[] {
  return listTensorSpecs(headTensors(config));
}

/** A head's weights as float32. */
export interface HeadWeights {
  /** [vocabSize, hiddenSize]; null: the target's. */
  embedTokens: Float32Array | null;
  /** [hiddenSize, auxiliary layers × targetHiddenSize] */
  fc: Float32Array;
  /** [auxiliary layers × targetHiddenSize] */
  inputNorm: Float32Array | null;
  /** Each [targetHiddenSize] */
  fcNorms: Float32Array[] | null;
  /** [hiddenSize] */
  hiddenNorm: Float32Array;
  layers: LayerWeights[];
  /** [hiddenSize] */
  norm: Float32Array;
  /** [draftVocabSize, hiddenSize]; null: the target's. */
  lmHead: Float32Array | null;
}

/** Reads a head's weights. Throws the reader's error if one is missing or has another shape. */
export async function loadHeadWeights(config: HeadConfig, reader: TensorReader): Promise<HeadWeights> {
  const { layers: layerSpecs, fcNorms: normSpecs, ...rest } = headTensors(config);
  const read = await readAll(reader, rest);
  const layers: LayerWeights[] = [];
  for (const each of layerSpecs) {
    const { attention, ...others } = await readAll(reader, each);
    if (attention.kind !== 'gqa') throw new TypeError(`a head of ${attention.kind} attention`);
    layers.push({ ...others, attention });
  }
  const fcNorms: Float32Array[] = [];
  for (const each of normSpecs ?? []) fcNorms.push(await reader.read(each));
  return { ...read, layers, fcNorms: normSpecs && fcNorms };
}
