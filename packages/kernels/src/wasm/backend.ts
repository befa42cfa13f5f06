import { type ExpertNorms, type HeldAdapter, type WorkItem } from '@shoal/model';
import { PANEL_COLS, shardBytes, type ExpertShape } from '@shoal/weights';
import { KernelError, type ExpertBackend, type ExpertOutput } from '../backend.ts';
import { checkShard, checkWorkItem, notLoaded, readAdapterShard } from '../check-work-item.ts';
import type { WasmVariant } from './features.ts';
import { LapWork } from './work-layout.ts';
import { ShardMemory } from './memory.ts';
import { HeldShard } from './piece-adapters.ts';
import { normsOf, panelLayout, repackShard } from './panel-layout.ts';
import { ThreadTeam, type StartThread } from './threads.ts';

export interface WasmBackendOptions {
  /** Compiled from the file of `variant`. */
  module: WebAssembly.Module;
  variant: WasmVariant;
  shape: ExpertShape;
  /** Threads for one lap, this one included; ignored if the variant has no shared memory. */
  threads: number;
  startThread: StartThread;
}

/** An instance's memory, and what uses it. */
interface Machine {
  memory: ShardMemory;
  work: LapWork;
  team: ThreadTeam | undefined;
}

/**
 * Experts on the CPU, in WebAssembly SIMD, from shards that are converted to panels of four rows when loaded. `run` computes
 * before it returns its promise, so it belongs in a worker. Arithmetic: f16 weights in f32; all others with inputs rounded
 * to 16 bits in blocks of 32, exact integer sums within a block, f32 between blocks.
 */
export class WasmExpertBackend implements ExpertBackend {
  readonly name = 'wasm';
  readonly shape: ExpertShape;
  readonly threads: number;
  readonly maxExpertsPerLayer: number;
  readonly lost = new Promise<string>(() => {});
  readonly #options: WasmBackendOptions;
  readonly #slotBytes: number;
  /** Address of each expert, by layer. */
  readonly #layers = new Map<number, Map<number, number>>();
  #count = 0;
  #adapterBytes = 0;
  #machine: Machine | undefined;
  #starting: Promise<Machine> | undefined;
  #destroyed = false;

  constructor(options: WasmBackendOptions) {
    shardBytes(options.shape); // throws for impossible dimensions
    this.#options = options;
    this.shape = options.shape;
    this.threads = options.variant.threads ? options.threads : 1;
    this.#slotBytes = panelLayout(options.shape).totalBytes;
    this.maxExpertsPerLayer = ShardMemory.maxSlots(this.#slotBytes);
  }

  /** All of the instance's memory, and adapters beside it, which laps copy there. */
  get allocatedBytes(): number {
    return (this.#machine?.memory.memory.buffer.byteLength ?? 0) + this.#adapterBytes;
  }

  async reserve(layer: number, experts: readonly number[]): Promise<void> {
    const missing = experts.filter((expert) => !this.has(layer, expert)).length;
    if (missing > 0) (await this.#start()).memory.reserve(missing);
  }

  async load(layer: number, expert: number, shard: Uint8Array): Promise<void> {
    checkShard(this.shape, layer, expert, shard);
    const { memory } = await this.#start();
    const experts = this.#layers.get(layer) ?? new Map<number, number>();
    const known = experts.get(expert);
    const staged = memory.stage(shard);
    const address = known ?? memory.take();
    repackShard(memory, this.shape, staged, address);
    experts.set(expert, address);
    this.#layers.set(layer, experts);
    if (known === undefined) this.#count++;
  }

  unload(layer: number, expert: number): void {
    const experts = this.#layers.get(layer);
    const address = experts?.get(expert);
    if (address === undefined) return;
    experts!.delete(expert);
    if (experts!.size === 0) this.#layers.delete(layer);
    this.#machine!.memory.free(address);
    // Memory never shrinks, so it is dropped with the last expert.
    if (--this.#count === 0) this.#stop();
  }

  has(layer: number, expert: number): boolean {
    return this.#layers.get(layer)?.has(expert) ?? false;
  }

  async openAdapter(shard: Uint8Array): Promise<HeldAdapter> {
    this.#checkAlive();
    readAdapterShard(this.shape, shard);
    this.#adapterBytes += shard.byteLength;
    return new HeldShard(shard, shard.byteLength, () => (this.#adapterBytes -= shard.byteLength));
  }

  async run(lap: WorkItem): Promise<ExpertOutput> {
    this.#checkAlive();
    checkWorkItem(lap, this.shape, (layer, expert) => this.has(layer, expert));
    const startedMs = performance.now();
    const partial = new Float32Array(lap.numRows * this.shape.hiddenSize);
    const machine = this.#machine;
    // Without a machine no expert is loaded, so no row has any.
    if (machine) {
      const experts = this.#layers.get(lap.layer);
      for (const piece of machine.work.pieces(lap)) {
        const run = (address: number): void => {
          if (machine.team) machine.team.run(address, lap.experts.length);
          else machine.memory.exports.runLap(address);
        };
        machine.work.compute(machine.memory, lap, piece, (expert) => experts!.get(expert)!, run, partial);
      }
    }
    return { partial, computeUs: (performance.now() - startedMs) * 1000 };
  }

  /** The norms of a loaded expert. */
  normsOf(layer: number, expert: number): ExpertNorms {
    const address = this.#layers.get(layer)?.get(expert);
    if (address === undefined) throw notLoaded(layer, expert);
    const { memory } = this.#machine!;
    const scratch = memory.work(4 * (Math.max(this.shape.hiddenSize, this.shape.moeIntermediateSize) + PANEL_COLS));
    return normsOf(memory, this.shape, address, scratch);
  }

  destroy(): void {
    this.#destroyed = true;
    this.#layers.clear();
    this.#count = 0;
    this.#stop();
  }

  #start(): Promise<Machine> {
    this.#checkAlive();
    if (this.#machine) return Promise.resolve(this.#machine);
    this.#starting ??= this.#create().finally(() => (this.#starting = undefined));
    return this.#starting;
  }

  async #create(): Promise<Machine> {
    const { module, variant, startThread } = this.#options;
    const memory = await ShardMemory.create(module, variant.threads, this.#slotBytes);
    this.#checkAlive();
    const work = new LapWork(this.shape, this.threads);
    const team = this.threads > 1 ? new ThreadTeam(memory, module, this.threads, startThread) : undefined;
    return (this.#machine = { memory, work, team });
  }

  #stop(): void {
    this.#machine?.team?.stop();
    this.#machine = undefined;
  }

  #checkAlive(): void {
    if (this.#destroyed) throw new KernelError('device-lost', 'the backend was destroyed');
  }
}
