import type { ModelConfig } from '../model-config.ts';

/** EAGLE-3's head (Li et al. 2025), as published with `LlamaForCausalLMEagle3` and by the `speculators` package. */
export interface Eagle3Head {
  kind: 'eagle3';
  /** Whether the residual of the first layer is the normalised hidden state, or that before its norm. */
  normBeforeResidual: boolean;
  /** The norm before `fc`: of all hidden states together, of each of them, or none. */
  fcNorm: 'none' | 'whole' | 'each';
  /** Whether the next depth goes on from the hidden state after the last norm, or from that before it. */
  goesOnAfterNorm: boolean;
}

/** DFlash's head (Chen et al. 2026): all drafts in one call, as a block of masked tokens. */
export interface DFlashHead {
  kind: 'dflash';
  /** Rows of a block: the last known token, and a mask for each draft. */
  blockSize: number;
  /** The token that stands for a draft; in the target's vocabulary or behind it. */
  maskTokenId: number;
}

/** A head that drafts from the hidden states of another model, its target. */
export interface HeadConfig {
  /** Its decoder layers, with its own hidden size and the target's vocabulary; of the first layer, but for its input. */
  transformer: ModelConfig;
  /** Tokens that it can draft: the size of its output. */
  draftVocabSize: number;
  /**
   * Which of the target's hidden states it reads, in their order: the input of layer i, which is what the layer before it gives;
   * numHiddenLayers: what the last one gives, before the final norm.
   */
  auxiliaryLayers: readonly number[];
  targetHiddenSize: number;
  /** How the first layer's stored tensors begin, and whether embedding and output are the head's own or the target's. */
  stored: { firstLayer: 'midlayer.' | 'layers.0.'; embedding: boolean; output: boolean };
  head: Eagle3Head | DFlashHead;
}
