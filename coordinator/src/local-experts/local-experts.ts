import { totalmem } from 'node:os';
import type { ModelConfig, WorkItem } from '@shoal/model';
import type { Manifest } from '@shoal/weights';
import type { PackedModel } from '@shoal/weights/node';
import type { EventLog } from '../base/event-log.ts';
import type { Config } from '../config.ts';
import { chooseLocalLayers, type LocalLayerChoice, refuseBeyondMemory } from './choose-layers.ts';
import { ExpertThread, type ExpertThreadOptions, type LoadProgress } from './expert-thread.ts';
import type { ComputeMeter, LocalCompute } from './local-compute.ts';

/** Cached shards lie in one WebAssembly memory of 4 GiB, together with the work space. */
const MAX_EXPERT_MEMORY_BYTES = 3 * 2 ** 30;
/** Until layers are loaded again where that has failed. */
const RETRY_MS = 60_000;

/** Chooses the local layers. Throws a UsageError if the options allow less than a layer, or more than the machine's memory. */
export function localLayersOf(options: Config, config: ModelConfig, manifest: Manifest): LocalLayerChoice {
  const { shardBytes, dense } = manifest;
  const { localExpertBytes: localBytes, kvMemoryBytes: kvBytes, mtpExperts: mtp } = options;
  const expertMemoryBytes = expertMemoryOf(options);
  const choice = chooseLocalLayers({ config, shardBytes, localBytes, expertMemoryBytes, mtp });
  const needs = { denseBytes: dense.bytes, kvBytes, expertMemoryBytes, localLayerBytes: choice.bytes };
  refuseBeyondMemory(needs, machineBytes());
  return choice;
}

/** Memory for experts that are kept loaded. */
export function expertMemoryOf({ expertMemoryBytes }: Pick<Config, 'expertMemoryBytes'>): number {
  return Math.min(expertMemoryBytes, MAX_EXPERT_MEMORY_BYTES);
}

/** Of the machine, or of the container where that is less. */
function machineBytes(): number {
  const limit = process.constrainedMemory();
  return limit > 0 ? Math.min(limit, totalmem()) : totalmem();
}

export interface StartOptions {
  options: Config;
  choice: LocalLayerChoice;
  /** The MTP module's layer, where the model has one. */
  mtpLayer: number | undefined;
  /** Called for each expert that is cached. */
  onLoaded: ExpertThreadOptions['onLoaded'];
  onDamage: ExpertThreadOptions['onDamage'];
  events: EventLog;
}

/** The experts that the coordinator computes itself. */
export interface LocalExpertThreads {
  /** For what no peer serves, known-answer tests and audits. */
  work: ExpertThread;
  /** The layers that the coordinator holds by choice, and what computes them. */
  localLayers: { layers: ReadonlySet<number>; work: LocalCompute };
  /** Loads the layers of `--local-experts`. Rejects where they cannot be read, or memory does not suffice. */
  load(onProgress?: (progress: LoadProgress) => void): Promise<void>;
  close(): Promise<void>;
}

/** Starts the threads. Layers of `--local-experts` are in memory after `load()`. */
export function startLocalExperts(
  { dir: packedDir, checkpoint }: PackedModel,
  { options, choice, mtpLayer, onLoaded, onDamage, events }: StartOptions,
): LocalExpertThreads {
  const shared = { packedDir, checkpoint, threads: options.threads, onDamage };
  const work = new ExpertThread({ ...shared, maxBytes: expertMemoryOf(options), onLoaded });
  const layers = new Set(choice.mtp === 'local' ? [mtpLayer!, ...choice.layers] : choice.layers);
  if (choice.bytes === 0) {
    return { work, localLayers: { layers, work: work.laps }, load: async () => {}, close: () => work.close() };
  }
  // In a thread of their own, so that answers and drafts wait for no audit.
  const thread = new ExpertThread({ ...shared, maxBytes: 0, onLoaded: () => {} });
  const onTrouble = ({ message }: Error): void => {
    const text = `The layers of --local-experts are not in memory, so they are computed slowly until they are loaded again: ${message}`;
    events.add({ level: 'error', kind: 'server', text });
  };
  const localLayers = new LocalLayers({ layers: [...layers], thread, fallback: work.laps, onTrouble });
  return {
    work,
    localLayers: { layers, work: localLayers },
    load: (onProgress) => localLayers.load(onProgress),
    close: async () => {
      await thread.close();
      await work.close();
    },
  };
}

export interface LocalLayersOptions {
  layers: readonly number[];
  /** Holds the layers. */
  thread: ExpertThread;
  /** Computes from cached shards, which is slower, while the layers are not in memory. */
  fallback: LocalCompute;
  /** Called when the layers were lost, or could not be loaded again. */
  onTrouble: (error: Error) => void;
}

/** Whole layers in memory. They are lost with their thread; the fallback computes until they are loaded again. */
export class LocalLayers implements LocalCompute {
  readonly #options: LocalLayersOptions;
  #loading = false;
  #retryAtMs = 0;

  constructor(options: LocalLayersOptions) {
    this.#options = options;
  }

  /** Loads everything. Rejects where the weights cannot be read or memory does not suffice. */
  async load(onProgress?: (progress: LoadProgress) => void): Promise<void> {
    this.#loading = true;
    try {
      await this.#options.thread.load(this.#options.layers, onProgress);
    } finally {
      this.#loading = false;
    }
  }

  async compute(item: WorkItem, meter?: ComputeMeter): Promise<Float32Array> {
    const { thread, fallback, onTrouble } = this.#options;
    try {
      if (thread.has(item.layer)) return await thread.laps.compute(item, meter);
      this.#loadAgain();
    } catch (error) {
      if (thread.closed) throw error;
      onTrouble(error as Error);
    }
    return fallback.compute(item, meter);
  }

  #loadAgain(): void {
    if (this.#loading || performance.now() < this.#retryAtMs) return;
    this.#retryAtMs = performance.now() + RETRY_MS;
    this.#options.onTrouble(new Error('their thread has ended; they are being loaded again'));
    this.load().catch((error: Error) => this.#options.onTrouble(error));
  }
}
