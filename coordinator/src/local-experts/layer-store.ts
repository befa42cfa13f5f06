import type { WasmExpertBackend } from '@shoal/kernels/node';
import { type WorkItem, pickAssignments } from '@shoal/model';

type Backend = Pick<WasmExpertBackend, 'reserve' | 'load' | 'unload' | 'run' | 'has' | 'maxExpertsPerLayer'>;

export interface LayerStoreOptions {
  expertsPerLayer: number;
  createBackend: () => Promise<Backend>;
  read: (layer: number, expert: number) => Promise<Uint8Array>;
  /** Of one backend; by default what its memory of 4 GiB holds. */
  maxExpertsPerBackend?: number;
}

interface Home {
  backend: Backend;
  /** Experts that it can hold, and those of them that it has room for yet. */
  size: number;
  free: number;
}

/**
 * Whole layers that stay loaded, in as many backends as their memory takes: a WebAssembly memory ends at 4 GiB. A layer is in
 * one of them where it fits.
 */
export class LayerStore {
  readonly #options: LayerStoreOptions;
  readonly #layers = new Map<number, Backend[]>();
  #newest: Home | undefined;

  constructor(options: LayerStoreOptions) {
    this.#options = options;
  }

  /** Whether all of the layer is loaded. */
  has(layer: number): boolean {
    return this.#layers.has(layer);
  }

  /** Load a layer, telling of each expert. Throws the reader's error, or KernelError `out-of-memory`. */
  async pin(layer: number, onLoaded: () => void): Promise<void> {
    const parts: { home: Home; experts: number[] }[] = [];
    const { expertsPerLayer } = this.#options;
    try {
      for (let expert = 0; expert < expertsPerLayer;) {
        const home = await this.#roomFor(expertsPerLayer - expert, expert === 0);
        const end = Math.min(expertsPerLayer, expert + home.free);
        const experts = Array.from({ length: end - expert }, (_, i) => expert + i);
        home.free -= experts.length;
        parts.push({ home, experts });
        // At once, so that memory grows once.
        await home.backend.reserve(layer, experts);
        await this.#load(home.backend, layer, experts, onLoaded);
        expert = end;
      }
    } catch (error) {
      for (const { home, experts } of parts) {
        for (const expert of experts) home.backend.unload(layer, expert);
        home.free += experts.length;
      }
      throw error;
    }
    this.#layers.set(
      layer,
      parts.map(({ home }) => home.backend),
    );
  }

  /** Σ weight × expert(row), [numRows, hiddenSize], of a layer that is stored. */
  async run(request: WorkItem): Promise<Float32Array> {
    const homes = this.#layers.get(request.layer) ?? [];
    if (homes.length === 1) return (await homes[0]!.run(request)).partial;
    const sum = new Float32Array(request.rows.length);
    for (const home of homes) {
      const held = [...request.experts.keys()].filter((a) => home.has(request.layer, request.experts[a]!));
      const { item, picked } = pickAssignments(request, held);
      const { partial } = await home.run(item);
      const D = partial.length / item.numRows;
      for (const [i, row] of picked.entries()) {
        for (let d = 0; d < D; d++) sum[row * D + d]! += partial[i * D + d]!;
      }
    }
    return sum;
  }

  /** A backend with room: for all of so many experts, if it is to be whole and one can hold them. */
  async #roomFor(experts: number, whole: boolean): Promise<Home> {
    const newest = this.#newest;
    if (newest && newest.free > 0 && (!whole || newest.free >= experts || newest.size < experts)) return newest;
    const backend = await this.#options.createBackend();
    // Room for one more, where a shard lies while it is put into panels.
    const size = this.#options.maxExpertsPerBackend ?? Math.max(1, backend.maxExpertsPerLayer - 1);
    return (this.#newest = { backend, size, free: size });
  }

  /** The next shard is read while one is loaded. */
  async #load(backend: Backend, layer: number, experts: readonly number[], onLoaded: () => void): Promise<void> {
    const { read } = this.#options;
    let next = read(layer, experts[0]!);
    for (const [i, expert] of experts.entries()) {
      const shard = await next;
      const following = experts[i + 1];
      if (following !== undefined) {
        next = read(layer, following);
        // Reported when its turn comes.
        next.catch(() => {});
      }
      await backend.load(layer, expert, shard);
      onLoaded();
    }
  }
}
