import type { Rng, WorkItem } from '@shoal/model';
import type { PlacementModel } from '@shoal/placement';
import { Dispatcher, type DispatcherOptions } from '../../coordinator/src/laps/dispatcher.ts';
import { EventLog } from '../../coordinator/src/base/event-log.ts';
import type { Planner } from '../../coordinator/src/swarm/swarm-options.ts';
import { Swarm } from '../../coordinator/src/swarm/swarm.ts';
import { LoadMeter } from '@shoal/placement';
import { placementModel, type SimModel } from './models.ts';
import { VirtualClock } from './virtual-clock.ts';

export interface WorldOptions {
  replicas: number;
  planner: Planner;
  /** The coordinator's line, which carries all shards. */
  uplinkGbitPerS: number;
  rng: Rng;
  maxPeers: number;
  onLap?: DispatcherOptions['onLap'];
}

/** Weight bytes read for local experts, in WASM SIMD on one thread: measured at 11 to 17 GB/s. */
const LOCAL_BYTES_PER_MS = 11e6;

/**
 * The coordinator's own swarm and dispatcher on a virtual clock, with two changes: local experts take virtual time and
 * return zeros, and tabs serve without a known-answer test, probation or audits.
 */
export class World {
  readonly clock = new VirtualClock();
  readonly model: SimModel;
  readonly shardBytes: number;
  readonly swarm: Swarm;
  readonly dispatcher: Dispatcher;
  readonly rng: Rng;
  readonly counted = { fetchedBytes: 0, fromCacheBytes: 0 };
  /** Until cleared, shards load at once, as in a swarm that has run for a long time. */
  preloaded = true;
  readonly #uplinkBytesPerMs: number;
  #uplinkFreeMs = 0;
  #localFreeMs = 0;

  constructor(model: SimModel, options: WorldOptions) {
    this.model = model;
    this.rng = options.rng;
    this.#uplinkBytesPerMs = (options.uplinkGbitPerS * 1e6) / 8;
    const placement = placementModel(model);
    this.shardBytes = placement.shardBytes;
    const { clock } = this;
    const meter = new LoadMeter(model.numLayers * model.expertsPerLayer);
    const local = { compute: (request: WorkItem) => this.#computeLocally(request) };
    const hashes = shardNames(placement);
    this.swarm = new Swarm({
      model: { ...placement, hiddenSize: model.hiddenSize },
      shardHash: (layer, expert) => hashes[layer * model.expertsPerLayer + expert]!,
      local,
      events: new EventLog(),
      replicas: options.replicas,
      load: () => meter.read(this.dispatcher.figures.expertCounters(placement.layers), clock.now()),
      maxPeers: options.maxPeers,
      clock,
      planner: options.planner,
      knownAnswerTest: async (_laps, _judge, experts) => ({ tested: experts.length, matched: experts.length }),
    });
    this.dispatcher = new Dispatcher({
      hiddenSize: model.hiddenSize,
      nRoutedExperts: model.expertsPerLayer,
      numExpertsPerTok: model.topK,
      local,
      peers: () => this.swarm.serving(),
      clock,
      ...(options.onLap ? { onLap: options.onLap } : {}),
    });
  }

  /** The uplink serves one peer at a time. */
  downloadMs(bytes: number, downloadBytesPerMs: number): number {
    if (this.preloaded || bytes === 0) return 0;
    const nowMs = this.clock.now();
    this.#uplinkFreeMs = Math.max(this.#uplinkFreeMs, nowMs) + bytes / this.#uplinkBytesPerMs;
    return Math.max(this.#uplinkFreeMs - nowMs, bytes / downloadBytesPerMs);
  }

  async #computeLocally({ experts, numRows }: WorkItem): Promise<Float32Array> {
    const nowMs = this.clock.now();
    const readMs = (new Set(experts).size * this.shardBytes) / LOCAL_BYTES_PER_MS;
    this.#localFreeMs = Math.max(this.#localFreeMs, nowMs) + readMs;
    await this.clock.sleep(this.#localFreeMs - nowMs);
    return new Float32Array(numRows * this.model.hiddenSize);
  }
}

function shardNames({ layers, expertsPerLayer }: PlacementModel): string[] {
  return Array.from({ length: layers.length * expertsPerLayer }, (_, i) => i.toString(16).padStart(64, '0'));
}
