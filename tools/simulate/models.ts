import type { PlacementModel, PlacementPeer } from '@shoal/placement';

/** Dimensions of a published model, from its config.json. */
export interface SimModel {
  name: string;
  /** MoE layers: laps per token. */
  numLayers: number;
  expertsPerLayer: number;
  topK: number;
  /** `n_group` and `topk_group`; both 1 if the gate has none. */
  nGroup: number;
  topkGroup: number;
  hiddenSize: number;
  moeIntermediateSize: number;
}

export const SIM_MODELS: Readonly<Record<string, SimModel>> = {
  'v2-lite': model('DeepSeek-V2-Lite', 26, 64, 6, 1, 1, 2048, 1408),
  v3: model('DeepSeek-V3', 58, 256, 8, 8, 4, 7168, 2048),
  qwen3: model('Qwen3-30B-A3B', 48, 128, 8, 1, 1, 2048, 768),
  olmoe: model('OLMoE-1B-7B', 16, 64, 8, 1, 1, 2048, 1024),
};

/** 4-bit weights with a 16-bit scale for each block of 32. */
const BITS_PER_WEIGHT = 4.5;
export const TAB_BYTES = 2 ** 30;

function model(
  name: string,
  numLayers: number,
  expertsPerLayer: number,
  topK: number,
  nGroup: number,
  topkGroup: number,
  hiddenSize: number,
  moeIntermediateSize: number,
): SimModel {
  return { name, numLayers, expertsPerLayer, topK, nGroup, topkGroup, hiddenSize, moeIntermediateSize };
}

export function placementModel(model: SimModel): PlacementModel {
  return {
    layers: Array.from({ length: model.numLayers }, (_, layer) => layer),
    expertsPerLayer: model.expertsPerLayer,
    groupsPerLayer: model.nGroup,
    shardBytes: (weightsPerExpert(model) * BITS_PER_WEIGHT) / 8,
  };
}

/** gate, up and down */
export function weightsPerExpert({ hiddenSize, moeIntermediateSize }: SimModel): number {
  return 3 * hiddenSize * moeIntermediateSize;
}

/** Equal tabs, each of its own donor. */
export function equalTabs(count: number, pledgeBytes = TAB_BYTES): PlacementPeer[] {
  return Array.from({ length: count }, (_, i) => ({
    peerId: `tab-${i}`,
    donorId: `donor-${i}`,
    pledgeBytes,
    maxExpertsPerLayer: Number.MAX_SAFE_INTEGER,
  }));
}
