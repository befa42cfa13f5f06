import type { WasmExpertBackend } from '@shoal/kernels/node';
import { pickAssignments, type WorkItem } from '@shoal/model';

type Backend = Pick<WasmExpertBackend, 'reserve' | 'load' | 'unload' | 'run' | 'has' | 'maxExpertsPerLayer'>;

export interface LayerStoreOptions {
  expertsPerLayer: number;
  createBackend: () => Promise<Backend>;
  read: (layer: number, expert: number) => Promise<Uint8Array>;
  /** By default what a backend's memory of 4 GiB holds. */
  maxExpertsPerBackend?: number;
}

interface Home {
  backend: Backend;
  /** Experts that it can hold, and those of them that it still has room for. */
  size: number;
  free: number;
}

/**
 * Whole layers that stay loaded, in as many backends as they need, since a WebAssembly memory ends at 4 GiB. A layer is in
 * one backend where it fits.
 */
export class LayerStore {
  readonly #options: LayerStoreOptions;
  readonly #layers = new Map<number, Backend[]>();
  #newest: Home | undefined;

  constructor(options: LayerStoreOptions) {
    this.#options = options;
  }

  /** Whether the whole layer is loaded. */
  has(layer: number): boolean {
    return this.#layers.has(layer);
  }

  /** Loads a layer, calling `onLoaded` for each expert. Throws the reader's error, or KernelError `out-of-memory`. */
  async load(layer: number, onLoaded: () => void): Promise<void> {
    const parts: { home: Home; experts: number[] }[] = [];
    const { expertsPerLayer } = this.#options;
    try {
      for (let expert = 0; expert < expertsPerLayer;) {
        const home = await this.#roomFor(expertsPerLayer - expert, expert === 0);
        const end = Math.min(expertsPerLayer, expert + home.free);
        const experts = Array.from({ length: end - expert }, (_, i) => expert + i);
        home.free -= experts.length;
        parts.push({ home, experts });
        // All at once, so that memory grows once.
        await home.backend.reserve(layer, experts);
        await this.#loadInto(home.backend, layer, experts, onLoaded);
        expert = end;
      }
    } catch (error) {
      for (const { home, experts } of parts) {
        for (const expert of experts) home.backend.unload(layer, expert);
        home.free += experts.length;
      }
      throw error;
    }
    const backends = parts.map(({ home }) => home.backend);
    this.#layers.set(layer, backends);
  }

  /** Σ weight × expert(row), [numRows, hiddenSize], of a layer that is loaded. */
  async run(item: WorkItem): Promise<Float32Array> {
    const { layer, experts, numRows, rows } = item;
    const backends = this.#layers.get(layer) ?? [];
    if (backends.length === 1) return (await backends[0]!.run(item)).partial;
    const sums = new Float32Array(rows.length);
    const hiddenSize = rows.length / numRows;
    for (const backend of backends) {
      const held = [...experts.keys()].filter((a) => backend.has(layer, experts[a]!));
      const part = pickAssignments(item, held);
      const { partial } = await backend.run(part.item);
      for (const [i, row] of part.picked.entries())
        for (let d = 0; d < hiddenSize; d++) sums[row * hiddenSize + d]! += partial[i * hiddenSize + d]!;
    }
    return sums;
  }

  /** A backend with room: for all the experts if they are a whole layer that one backend can hold. */
  async #roomFor(experts: number, isWhole: boolean): Promise<Home> {
    const newest = this.#newest;
    if (newest && newest.free > 0 && (!isWhole || newest.free >= experts || newest.size < experts)) return newest;
    const backend = await this.#options.createBackend();
    // One less: a shard takes a place of its own while it is put into panels.
    const size = this.#options.maxExpertsPerBackend ?? Math.max(1, backend.maxExpertsPerLayer - 1);
    return (this.#newest = { backend, size, free: size });
  }

  /** Reads each shard while the one before is loaded. */
  async #loadInto(backend: Backend, layer: number, experts: readonly number[], onLoaded: () => void): Promise<void> {
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
