import { totalmem } from 'node:os';
import type { ModelConfig } from '@shoal/model';
import type { Manifest } from '@shoal/weights';
import type { PackedModel } from '@shoal/weights/node';
import { ExpertWorker } from './dispatch/expert-worker.ts';
import {
  DEFAULT_EXPERT_MEMORY_BYTES,
  planResident,
  refuseBeyondMemory,
  type ResidentPlan,
} from './dispatch/resident-plan.ts';
import { ResidentExperts } from './dispatch/resident-experts.ts';
import { type CoordinatorOptions, UsageError } from './options.ts';
import type { EventLog } from './swarm/event-log.ts';
import type { NormLimits } from './trust/norm-limits.ts';

/** Shards kept for self-tests, audits and what no tab serves lie in one WebAssembly memory of 4 GiB, with the work space. */
const MAX_EXPERT_MEMORY_BYTES = 3 * 2 ** 30;

export type OwnExpertsOptions = Pick<
  CoordinatorOptions,
  'expertMemoryBytes' | 'localExpertBytes' | 'mtpExperts' | 'kvMemoryBytes'
>;

/** The experts that the coordinator computes itself. */
export interface OwnExperts {
  /** For what no tab serves, self-tests and audits. */
  work: ExpertWorker;
  /** Whole layers that no tab is asked for. */
  resident: ResidentExperts;
  close(): Promise<void>;
}

/** What the options say to hold for good. Throws a UsageError where it is less than a layer, or more than there is memory. */
export function residentPlanOf(options: OwnExpertsOptions, config: ModelConfig, manifest: Manifest): ResidentPlan {
  const { shardBytes, dense } = manifest;
  try {
    const plan = planResident({
      config,
      shardBytes,
      localBytes: options.localExpertBytes ?? 0,
      expertMemoryBytes: Math.min(options.expertMemoryBytes ?? DEFAULT_EXPERT_MEMORY_BYTES, MAX_EXPERT_MEMORY_BYTES),
      mtp: options.mtpExperts ?? 'auto',
    });
    const { bytes: residentBytes, expertMemoryBytes } = plan;
    const kvBytes = options.kvMemoryBytes ?? 0;
    refuseBeyondMemory({ denseBytes: dense.bytes, kvBytes, expertMemoryBytes, residentBytes }, machineBytes());
    return plan;
  } catch (error) {
    throw error instanceof RangeError ? new UsageError(error.message) : error;
  }
}

/** Start their threads. The resident layers are in memory after `resident.load()`. */
export function startOwnExperts(
  { dir }: PackedModel,
  plan: ResidentPlan,
  mtpLayer: number | undefined,
  { norms, events, threads }: { norms: NormLimits; events: EventLog; threads: number | undefined },
): OwnExperts {
  const work = new ExpertWorker({
    packedDir: dir,
    maxBytes: plan.expertMemoryBytes,
    threads,
    onLoaded: (layer, expert, product) => norms.learnProduct(layer, expert, product),
  });
  // In a thread of their own, answers and drafts wait for no audit. No tab serves these layers: their norms are of no use.
  const holder = plan.ownMemory ? new ExpertWorker({ packedDir: dir, maxBytes: 0, threads, onLoaded: () => {} }) : work;
  const resident = new ResidentExperts({
    layers: plan.mtp === 'local' ? [mtpLayer!, ...plan.layers] : plan.layers,
    worker: holder,
    fallback: work.laps,
    onTrouble: ({ message }) => {
      const text = `The coordinator's own layers are not in its memory and slow for now: ${message}`;
      events.add({ level: 'error', kind: 'server', text });
    },
  });
  const close = async (): Promise<void> => {
    await holder.close();
    await work.close();
  };
  return { work, resident, close };
}

/** Of the machine, or of the container where that is less. */
function machineBytes(): number {
  const limit = process.constrainedMemory();
  return limit > 0 ? Math.min(limit, totalmem()) : totalmem();
}
