import { totalmem } from 'node:os';
import type { ModelConfig } from '@shoal/model';
import type { Manifest } from '@shoal/weights';
import type { PackedModel } from '@shoal/weights/node';
import { ExpertWorker, type LoadProgress } from './worker.ts';
import type { LocalCompute } from './local-compute.ts';
import { chooseLocalLayers, refuseBeyondMemory, type LocalLayerChoice } from './choose-layers.ts';
import { LocalLayers } from './local-layers.ts';
import type { Config } from '../config.ts';
import { UsageError } from '../base/usage-error.ts';
import type { EventLog } from '../base/event-log.ts';
import type { NormLimits } from '../trust/norm-limits.ts';

/** Shards cached for self-tests, audits and what no tab serves lie in one WebAssembly memory of 4 GiB, with the work space. */
const MAX_EXPERT_MEMORY_BYTES = 3 * 2 ** 30;

/** The experts that the coordinator computes itself. */
export interface LocalExpertThreads {
  /** For what no tab serves, self-tests and audits. */
  work: ExpertWorker;
  /** Layers that no tab is asked for, and who computes them. */
  localLayers: { layers: ReadonlySet<number>; work: LocalCompute };
  /** Load the layers of `--local-experts`. Rejects where they cannot be read, or memory does not suffice. */
  load(onProgress?: (progress: LoadProgress) => void): Promise<void>;
  close(): Promise<void>;
}

/** What the options say to hold. Throws a UsageError where it is less than a layer, or more than there is memory. */
export function localLayersOf(options: Config, config: ModelConfig, manifest: Manifest): LocalLayerChoice {
  const { shardBytes, dense } = manifest;
  const { localExpertBytes: localBytes, kvMemoryBytes: kvBytes, mtpExperts: mtp } = options;
  const expertMemoryBytes = expertMemoryOf(options);
  try {
    const plan = chooseLocalLayers({ config, shardBytes, localBytes, expertMemoryBytes, mtp });
    const needs = { denseBytes: dense.bytes, kvBytes, expertMemoryBytes, localLayerBytes: plan.bytes };
    refuseBeyondMemory(needs, machineBytes());
    return plan;
  } catch (error) {
    throw error instanceof RangeError ? new UsageError(error.message) : error;
  }
}

function expertMemoryOf({ expertMemoryBytes }: Config): number {
  return Math.min(expertMemoryBytes, MAX_EXPERT_MEMORY_BYTES);
}

export interface StartOptions {
  options: Config;
  plan: LocalLayerChoice;
  /** The MTP module's layer, where the model has one. */
  mtpLayer: number | undefined;
  norms: NormLimits;
  events: EventLog;
}

/** Start their threads. What is to be in memory before anybody asks is there after `load()`. */
export function startLocalExperts(
  { dir }: PackedModel,
  { options, plan, mtpLayer, norms, events }: StartOptions,
): LocalExpertThreads {
  const { threads } = options;
  const work = new ExpertWorker({
    packedDir: dir,
    maxBytes: expertMemoryOf(options),
    threads,
    onLoaded: (layer, expert, product) => norms.learnProduct(layer, expert, product),
  });
  const layers = new Set(plan.mtp === 'local' ? [mtpLayer!, ...plan.layers] : plan.layers);
  if (plan.bytes === 0) {
    return { work, localLayers: { layers, work: work.laps }, load: async () => {}, close: () => work.close() };
  }
  // In a thread of their own, answers and drafts wait for no audit. No tab serves these layers: their norms are of no use.
  const worker = new ExpertWorker({ packedDir: dir, maxBytes: 0, threads, onLoaded: () => {} });
  const onTrouble = ({ message }: Error): void => {
    const text = `The layers of --local-experts are not in memory, and slow for now: ${message}`;
    events.add({ level: 'error', kind: 'server', text });
  };
  const localLayers = new LocalLayers({ layers: [...layers], worker, fallback: work.laps, onTrouble });
  return {
    work,
    localLayers: { layers, work: localLayers },
    load: (onProgress) => localLayers.load(onProgress),
    close: async () => {
      await worker.close();
      await work.close();
    },
  };
}

/** Of the machine, or of the container where that is less. */
function machineBytes(): number {
  const limit = process.constrainedMemory();
  return limit > 0 ? Math.min(limit, totalmem()) : totalmem();
}
