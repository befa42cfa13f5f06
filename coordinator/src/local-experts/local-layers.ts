import type { ExpertWorker, LoadProgress } from './worker.ts';
import type { WorkItem } from '@shoal/model';
import type { LocalCompute, ComputeMeter } from './local-compute.ts';

export interface LocalLayersOptions {
  layers: readonly number[];
  /** Holds them. */
  worker: ExpertWorker;
  /** Does the work while the layers are not in memory: slower, from the same weights. */
  fallback: LocalCompute;
  /** The layers were lost, or could not be loaded again. */
  onTrouble: (error: Error) => void;
}

/** After loading again has failed. */
const RETRY_MS = 60_000;

/**
 * Whole layers in the coordinator's memory. A thread that dies takes them along; until they are loaded again, the fallback
 * computes.
 */
export class LocalLayers implements LocalCompute {
  readonly #options: LocalLayersOptions;
  #loading = false;
  #retryAtMs = 0;

  constructor(options: LocalLayersOptions) {
    this.#options = options;
  }

  /** Load everything. Rejects where the weights cannot be read or memory does not suffice. */
  async load(onProgress?: (progress: LoadProgress) => void): Promise<void> {
    this.#loading = true;
    try {
      await this.#options.worker.pin(this.#options.layers, onProgress);
    } finally {
      this.#loading = false;
    }
  }

  async compute(request: WorkItem, meter?: ComputeMeter): Promise<Float32Array> {
    const { worker, fallback, onTrouble } = this.#options;
    if (!worker.holds(request.layer)) {
      this.#loadAgain();
      return fallback.compute(request, meter);
    }
    try {
      return await worker.laps.compute(request, meter);
    } catch (error) {
      if (worker.closed) throw error;
      onTrouble(error as Error);
      return fallback.compute(request, meter);
    }
  }

  #loadAgain(): void {
    if (this.#loading || performance.now() < this.#retryAtMs) return;
    this.#retryAtMs = performance.now() + RETRY_MS;
    this.#options.onTrouble(new Error('their thread has ended; they are being loaded again'));
    this.load().catch((error: Error) => this.#options.onTrouble(error));
  }
}
