import type { HeldAdapter, WorkItem } from '@shoal/model';
import type { ExpertShape } from '@shoal/weights';

/** The result of a lap. */
export interface ExpertOutput {
  /** [numRows, hiddenSize]: Σ over the row's assignments of weight × expert(row); zeros for a row without any. */
  partial: Float32Array;
  /** Time in the backend, in microseconds, from submit to result. */
  computeUs: number;
}

/** Receives the sums of the lap with that index, as ExpertOutput.partial: a view that is valid until the call returns. */
export type TakeSums = (lap: number, sums: Float32Array, computeUs: number) => void;

/**
 * Applies routed experts to rows: y = Σ_e w_e · W_down,e (silu(W_gate,e x) ⊙ W_up,e x), accumulated in f32.
 * `load` takes shard bytes exactly as `@shoal/weights` packs them. Several `run` calls may be in flight.
 * Errors are `KernelError`s with a `reason`; a lap that names an expert which isn't loaded is rejected as a whole.
 */
export interface ExpertBackend {
  readonly name: 'webgpu' | 'wasm' | 'reference';
  readonly shape: ExpertShape;
  /** Bytes allocated for weights, with their slack, and for laps. */
  readonly allocatedBytes: number;
  /** Largest number of experts of one layer that can be held; Infinity if unlimited. */
  readonly maxExpertsPerLayer: number;
  /** Resolves with the reason if the device is lost. */
  readonly lost: Promise<string>;
  /** Announces the experts of a layer that will be loaded, so that their buffer is allocated once. Optional. */
  reserve(layer: number, experts: readonly number[]): Promise<void>;
  load(layer: number, expert: number, shard: Uint8Array): Promise<void>;
  unload(layer: number, expert: number): void;
  has(layer: number, expert: number): boolean;
  /** Holds a low-rank shard, which laps may then name among their adapters. */
  openAdapter(shard: Uint8Array): Promise<HeldAdapter>;
  run(lap: WorkItem): Promise<ExpertOutput>;
  /**
   * Computes several laps, of any layers, as one batch; absent if that is not cheaper than one after the other. Calls `take` with
   * each lap's sums. Rejects as `run` does, for all of them.
   */
  runTogether?(laps: readonly WorkItem[], take: TakeSums): Promise<void>;
  destroy(): void;
}

export type KernelErrorReason =
  'no-adapter' | 'limits' | 'out-of-memory' | 'device-lost' | 'bad-shard' | 'bad-lap' | 'not-loaded' | 'compile';

export class KernelError extends Error {
  readonly reason: KernelErrorReason;
  constructor(reason: KernelErrorReason, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'KernelError';
    this.reason = reason;
  }
}
