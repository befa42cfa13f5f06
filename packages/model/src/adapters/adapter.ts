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

/** What an adapter adds to one matrix: y += B (A x) (LoRA, Hu et al. 2021, §4.1). */
export interface LowRank {
  rank: number;
  inDim: number;
  outDim: number;
  /** [rank, inDim] */
  a: Float32Array;
  /** [outDim, rank], multiplied by the adapter's scale. */
  b: Float32Array;
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
