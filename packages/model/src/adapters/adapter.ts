/**
 * The matrices of the coordinator's part of a layer that an adapter may change. `gate`, `up` and `down` are a dense layer's FFN or
 * the shared expert, `moeGate` is that of the gate, `q` to `o` are those of attention (`qA` to `kvB` MLA's).
 */
export const ADAPTER_TARGETS = [
  'q',
  'k',
  'v',
  'o',
  'qA',
  'qB',
  'kvA',
  'kvB',
  'gate',
  'up',
  'down',
  'moeGate',
  'sharedGate',
] as const;
export type AdapterTarget = (typeof ADAPTER_TARGETS)[number];

/** What an adapter adds to one matrix: y += B (A x) (LoRA, Hu et al. 2021, §4.1), or y += B (s ⊙ A x) in a mixture. */
export interface LowRank {
  rank: number;
  inDim: number;
  outDim: number;
  /** [rank, inDim] */
  a: Float32Array;
  /** [outDim, rank], multiplied by the adapter's scale. */
  b: Float32Array;
  /** [rank], in a mixture, whose adapters' ranks lie one after the other: which of a row's scalings s each is multiplied by. */
  scalings?: Uint32Array | undefined;
}

/** What an adapter adds in one layer. */
export type AdapterLayer = Readonly<Partial<Record<AdapterTarget, LowRank>>>;

/** What an adapter adds to one routed expert. */
export type ExpertAdapter = Readonly<Partial<Record<'gate' | 'up' | 'down', LowRank>>>;

/** What an adapter adds to routed experts: by layer, then by expert. Its matrices lie in shared memory. */
export type ExpertAdapters = ReadonlyMap<number, ReadonlyMap<number, ExpertAdapter>>;

/** A LoRA adapter of a model. */
export interface Adapter {
  /** By layer of the main model. */
  layers: readonly AdapterLayer[];
  /** Empty if it changes no routed expert. */
  experts: ExpertAdapters;
  maxRank: number;
  /** Bytes of all matrices as float32, and of those of the routed experts. */
  bytes: number;
  expertBytes: number;
  /** Present if it mixes several adapters, with scalings for each row. */
  mixture?: Mixture | undefined;
}

/** A linear map of the classifier: y = W x + b. */
export interface ClassifierLayer {
  inDim: number;
  outDim: number;
  /** [outDim, inDim] */
  weight: Float32Array;
  /** [outDim] */
  bias: Float32Array;
}

/** How an X-LoRA mixture turns what its classifier gives into scalings; the keys of PEFT's XLoraConfig. */
export interface MixtureRules {
  /** Divides the classifier's outputs before a softmax over the adapters; null: they are scalings as they are. */
  softmaxTemperature: number | null;
  /** Adapters whose scalings are kept in a layer; the others become 0. Null: all. */
  topK: number | null;
  /** Whether a softmax over those that are not 0 follows. */
  renormalises: boolean;
  /** Multiplies all scalings. */
  weight: number;
  /** The scalings, but for `weight`, in the pass whose hidden states the classifier reads. */
  firstPassValue: number;
}

/**
 * A mixture of adapters with scalings by token and layer (X-LoRA, Buehler and Buehler 2024, arXiv 2402.07148; computed as PEFT's
 * `peft/tuners/xlora` does). A first pass computes a row's last hidden state, from which the classifier makes its scalings; in the
 * second, each changed matrix adds Σ_i s_i · B_i A_i x. Both passes are causal, so that each has a KV cache of its own.
 */
export interface Mixture {
  numAdapters: number;
  /** Changed modules that have scalings of their own, in the order of transformers' modules; 1 if all have the same. */
  numLayers: number;
  /** ReLU lies between the layers. */
  classifier: readonly ClassifierLayer[];
  rules: MixtureRules;
  /** What each adapter adds to routed experts; they have the scalings of the only layer. */
  experts: readonly ExpertAdapters[];
  /** Of the classifier, as float32. */
  bytes: number;
}

/** An adapter that an engine has loaded; belongs to that engine. */
export interface EngineAdapter {
  /** Memory that it takes in the engine. */
  readonly bytes: number;
  /** Gives its memory back. No pass may be using it, nor use it later. */
  free(): void;
}

/** A low-rank shard that a tab's backend holds; belongs to that backend. Laps with a freed one fail. */
export interface HeldAdapter {
  readonly held: true;
  /** Memory that it takes in the backend. */
  readonly bytes: number;
  free(): void;
}

/** Larger ranks are refused; published adapters have 4 to 256. */
export const MAX_ADAPTER_RANK = 256;

/** Of a mixture's adapters together, at one matrix. */
export const MAX_MIXTURE_RANK = 1024;
