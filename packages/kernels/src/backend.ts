import type { WorkItem } from '@shoal/model';
import type { ExpertShape } from '@shoal/weights';

/** What a lap computed. */
export interface ExpertOutput {
  /** [numRows, hiddenSize]: Σ over the row's assignments of weight × expert(row); zeros for a row without any. */
  partial: Float32Array;
  /** Time in the backend, in microseconds, from submit to result. */
  computeUs: number;
}

/** `sums`: as ExpertOutput.partial, of the lap with that index; a view that holds until the call returns. */
export type TakeSums = (lap: number, sums: Float32Array, computeUs: number) => void;

/**
 * Applies routed experts to rows: y = Σ_e w_e · W_down,e (silu(W_gate,e x) ⊙ W_up,e x), accumulated in f32.
 * `load` takes shard bytes exactly as `@shoal/weights` packs them. Several `run` calls may be in flight.
 * Errors are `KernelError`s with a `reason`; a lap naming an expert that isn't loaded is refused whole.
 */
export interface ExpertBackend {
  readonly name: 'webgpu' | 'wasm' | 'reference';
  readonly shape: ExpertShape;
  /** Bytes held, as allocated: weights with their slack, and what laps work in. */
  readonly allocatedBytes: number;
  /** Largest number of experts of one layer that can be held; Infinity if unlimited. */
  readonly maxExpertsPerLayer: number;
  /** Resolves, once, with the reason when the device is gone (never for a backend that cannot lose it). */
  readonly lost: Promise<string>;
  /** Set how many experts of a layer will be held, so that a buffer is allocated once; optional before load. */
  reserve(layer: number, experts: readonly number[]): Promise<void>;
  load(layer: number, expert: number, shard: Uint8Array): Promise<void>;
  unload(layer: number, expert: number): void;
  has(layer: number, expert: number): boolean;
  run(lap: WorkItem): Promise<ExpertOutput>;
  /**
   * Several laps, of whichever layers, as one piece of work, where that costs less than one after the other; absent where it
   * doesn't. `take` is told of each lap's sums, which are gone when it returns. Rejects as `run` does, for all of them.
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
