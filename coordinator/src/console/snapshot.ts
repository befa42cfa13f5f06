import type { ModelConfig } from '@shoal/model';
import type {
  AdapterInfo,
  AttentionItem,
  ConsoleSnapshot,
  FlowView,
  PeerView,
  PlacementView,
  WaitView,
} from '@shoal/protocol';
import { steadyUnixMs } from '../base/clock.ts';
import type { SampleWindow } from '../base/sample-window.ts';
import type { Dispatcher } from '../laps/dispatcher.ts';
import { answerWork } from '../laps/lap-figures.ts';
import { lapsPerPass, type LocalLayerChoice } from '../local-experts/choose-layers.ts';
import type { EncoderScheduler } from '../scheduler/encoder/encoder-scheduler.ts';
import type { Scheduler } from '../scheduler/scheduler.ts';
import type { Settings } from '../settings/index.ts';
import type { PeerSession } from '../swarm/peer-session.ts';
import type { Swarm } from '../swarm/swarm.ts';
import { backendOf } from '../trust/bounds.ts';
import type { Trust } from '../trust/trust.ts';
import { adaptersView, type ConsoleAdapters } from './adapters-view.ts';
import { mhaBytesPerToken } from './kv-figures.ts';
import type { RequestBook } from './request-book.ts';

export interface SnapshotSources {
  version: string;
  quant: string;
  config: ModelConfig;
  scheduler: Scheduler;
  encoder?: EncoderScheduler | undefined;
  requests: Pick<RequestBook, 'views'>;
  settings: Pick<Settings, 'get'>;
  dispatcher: Dispatcher;
  swarm: Swarm;
  /** The layers and experts that are local by plan. */
  localLayers: LocalLayerChoice;
  trust: Pick<Trust, 'counts' | 'quarantine'>;
  adapters: ConsoleAdapters['adapters'];
  adapterRoot?: string | undefined;
  isDraining: () => boolean;
  /** What needs attention, here or at other coordinators. */
  attention: () => AttentionItem[];
}

const HISTORY_S = 120;
/** Seconds that the token rate is averaged over: that of one second jumps with every request. */
const RATE_WINDOW_S = 5;
/** Per second: the load halves in about 10 s. */
const LOAD_DECAY = 0.93;

/** Builds the console's snapshots. Keeps the figures that need history; everything else is read from its source. */
export class SnapshotBuilder {
  readonly #sources: SnapshotSources;
  readonly #startedMs = steadyUnixMs();
  readonly #tokenHistory: number[] = [];
  /** By MoE layer: [nRoutedExperts] rows a second, with decay. */
  readonly #load = new Map<number, Float64Array>();
  /** By MoE layer: [nRoutedExperts] row counters at the last tick. */
  readonly #rowsAtTick = new Map<number, Float64Array>();
  #tokensAtTick = 0;
  #tickedMs = performance.now();

  constructor(sources: SnapshotSources) {
    this.#sources = sources;
  }

  /** Called once a second. */
  tick(): void {
    const { dispatcher } = this.#sources;
    const nowMs = performance.now();
    // The time is measured, since ticks are late in a busy process.
    const elapsedS = Math.max(1, nowMs - this.#tickedMs) / 1000;
    this.#tickedMs = nowMs;
    const tokens = this.#tokens;
    this.#tokenHistory.push((tokens - this.#tokensAtTick) / elapsedS);
    if (this.#tokenHistory.length > HISTORY_S) this.#tokenHistory.shift();
    this.#tokensAtTick = tokens;
    for (const [layer, rows] of dispatcher.figures.expertRows) {
      const before = this.#rowsAtTick.get(layer) ?? new Float64Array(rows.length);
      const load = this.#load.get(layer) ?? new Float64Array(rows.length);
      for (let e = 0; e < rows.length; e++) {
        load[e] = load[e]! * LOAD_DECAY + ((rows[e]! - before[e]!) / elapsedS) * (1 - LOAD_DECAY);
      }
      this.#load.set(layer, load);
      this.#rowsAtTick.set(layer, rows.slice());
    }
  }

  /** The average over HISTORY_S, or since start. */
  get tokensPerSecond(): number {
    const history = this.#tokenHistory;
    return history.length === 0 ? 0 : history.reduce((sum, rate) => sum + rate, 0) / history.length;
  }

  /** Generated since start; an encoder's are those of the texts that it has embedded. */
  get #tokens(): number {
    const { scheduler, encoder } = this.#sources;
    return encoder ? encoder.counts.tokens : scheduler.tokens;
  }

  build(): ConsoleSnapshot {
    const { scheduler, encoder, requests, settings, swarm, version, quant, adapters, adapterRoot } = this.#sources;
    const { queue, firstToken, betweenTokens } = scheduler.latency.recentMs;
    const nowMs = steadyUnixMs();
    const flow = this.#flow();
    return {
      modelId: scheduler.modelId,
      quant,
      version,
      startedMs: this.#startedMs,
      nowMs,
      verdict: this.#verdict(flow),
      attention: this.#sources.attention(),
      peers: swarm.peers.map((peer) => this.#peer(peer)),
      placement: this.#placement(),
      flow,
      requests: requests.views(scheduler, encoder?.jobs),
      isDrainingAll: settings.get('drainAll'),
      queuedRequests: encoder ? encoder.jobs.filter(({ taken }) => taken === 0).length : scheduler.queued.length,
      adapters: adaptersView({ adapters, adapterRoot }),
      waits: { queue: waitOf(queue), firstToken: waitOf(firstToken), betweenTokens: waitOf(betweenTokens) },
    };
  }

  #verdict(flow: FlowView): ConsoleSnapshot['verdict'] {
    const { swarm, localLayers, settings } = this.#sources;
    const tabs = [...swarm.serving()].length;
    if (this.#sources.isDraining()) {
      return { state: 'draining', text: 'Shutting down: running answers finish, new requests are refused.' };
    }
    if (settings.get('drainAll')) {
      const text = 'Serving alone: all tabs rest, as an operator has asked.';
      return { state: 'alone', text };
    }
    if (swarm.model.layers.length === 0) {
      return { state: 'serving', text: 'Serving: the coordinator holds every expert itself (--local-experts).' };
    }
    if (tabs === 0) {
      return { state: 'alone', text: 'Serving alone: the coordinator computes every expert itself.' };
    }
    if (flow.uncoveredExperts > 0) {
      const text = `Serving on ${counted(tabs, 'tab')}; the coordinator computes ${counted(flow.uncoveredExperts, 'expert')} itself.`;
      return { state: 'uncovered', text };
    }
    const local = localLayers.layers.length;
    const but = local === 0 ? '' : `, except those of ${counted(local, 'layer')} that the coordinator holds itself`;
    const text = `Serving: ${counted(tabs, 'tab')} ${tabs === 1 ? 'holds' : 'hold'} every expert${but}.`;
    return { state: 'serving', text };
  }

  #peer(peer: PeerSession): PeerView {
    const { dispatcher } = this.#sources;
    const { adapter } = peer.hello;
    const { phase, auditShare, auditedRows, failures, record } = peer.trust;
    const laps = peer.connected ? peer.laps : undefined;
    const stats = peer.link?.stats();
    const work = answerWork(dispatcher.figures);
    return {
      peerId: peer.peerId,
      state: peer.state,
      adapter: adapterText(adapter),
      donor: peer.donorId.slice(0, 6),
      address: peer.address,
      pledgeBytes: peer.hello.pledgeBytes,
      allocatedBytes: peer.allocatedBytes,
      experts: peer.live.size,
      layers: peer.liveLayers(),
      rows: laps?.rows ?? 0,
      rowsPerSecond: peer.rowsPerSecond,
      workShare: work === 0 ? 0 : (laps?.assignments ?? 0) / work,
      lapMsP50: laps?.lapMs.quantile(0.5) ?? null,
      lapMsP95: laps?.lapMs.quantile(0.95) ?? null,
      rttMs: stats?.rttMs ?? null,
      lossShare: laps && laps.lapsAsked > 0 ? laps.lapsFailed / laps.lapsAsked : 0,
      bytesSent: stats?.bytesSent ?? 0,
      bytesReceived: stats?.bytesReceived ?? 0,
      loadedShare: peer.loadedShare,
      sinceMs: peer.sinceMs,
      ...(peer.note !== undefined && { note: peer.note }),
      ...peer.promised.view,
      trust: { phase, auditShare, auditedRows, failures, verifiedRows: record.verifiedRows },
      ...creditOf(peer),
      lapHistoryMs: laps?.historyMs() ?? [],
    };
  }

  #placement(): PlacementView {
    const { swarm } = this.#sources;
    const { layers, expertsPerLayer } = swarm.model;
    const peers = [...swarm.serving()];
    const holders: number[][][] = layers.map(() => Array.from({ length: expertsPerLayer }, () => []));
    for (const [i, peer] of peers.entries()) {
      for (const index of peer.live) holders[Math.floor(index / expertsPerLayer)]![index % expertsPerLayer]!.push(i);
    }
    return {
      epoch: swarm.plan.epoch,
      layers: [...layers],
      expertsPerLayer,
      replicas: holders.map((row) => row.map((cell) => cell.length)),
      load: layers.map((layer) => Array.from(this.#load.get(layer) ?? new Float64Array(expertsPerLayer))),
      holders,
      peerIds: peers.map((peer) => peer.peerId),
    };
  }

  #flow(): FlowView {
    const { config, scheduler, dispatcher, swarm, localLayers, trust } = this.#sources;
    const floorLaps = lapsPerPass(config, localLayers);
    const wire = swarm.wireBytes;
    const workBytes = wire.sent + wire.received - wire.tests;
    const work = answerWork(dispatcher.figures);
    const perToken = scheduler.passesPerToken;
    const recent = this.#tokenHistory.slice(-RATE_WINDOW_S);
    const perPass = (perLapMs: number | null, laps = floorLaps): number | null =>
      perLapMs === null ? null : perLapMs * laps;
    return {
      tokensPerSecond: recent.length === 0 ? 0 : recent.reduce((sum, n) => sum + n, 0) / recent.length,
      tokensTotal: this.#tokens,
      lapsPerToken:
        perToken === null
          ? null
          : (perToken * (dispatcher.figures.laps + dispatcher.figures.redispatches)) / scheduler.passes,
      drafts: scheduler.speculation.totals,
      bytesPerToken: dispatcher.figures.tabRows === 0 ? null : (workBytes / dispatcher.figures.tabRows) * floorLaps,
      floorBytesPerToken: floorLaps * 2 * config.hiddenSize * 2,
      floorLapsPerToken: floorLaps,
      tabShare: work === 0 ? null : dispatcher.figures.tabAssignments / work,
      uncoveredExperts: swarm.uncovered(),
      uncoveredWork: dispatcher.figures.fallbackAssignments,
      localLayers: {
        layers: [...localLayers.layers],
        bytes: localLayers.bytes,
        share: work === 0 ? null : dispatcher.figures.localLayerAssignments / work,
        draftWork: dispatcher.figures.draftAssignments,
      },
      audits: {
        comparedRows: trust.counts.right + trust.counts.wrong,
        wrongRows: trust.counts.wrong,
        uncheckedRows: trust.counts.unchecked,
        keptOut: trust.quarantine.size,
      },
      timeSplitMs: {
        engine: scheduler.engineMs.quantile(0.5),
        queue: perPass(dispatcher.figures.queueMs.quantile(0.5)),
        wire: perPass(dispatcher.figures.wireMs.quantile(0.5)),
        compute: perPass(dispatcher.figures.computeMs.quantile(0.5)),
        localLayers: perPass(dispatcher.figures.localLayerMs.quantile(0.5), localLayers.layers.length),
      },
      kvBytesInUse: scheduler.kvBytesInUse,
      kvBytesPerToken: scheduler.kvBytesPerToken,
      mhaBytesPerToken: mhaBytesPerToken(config, scheduler.kvBytesPerToken),
      tokensPerSecondHistory: [...this.#tokenHistory],
    };
  }
}

function waitOf(recentMs: SampleWindow): WaitView {
  return { p50: recentMs.quantile(0.5), p95: recentMs.quantile(0.95) };
}

function counted(count: number, noun: string): string {
  return `${count} ${count === 1 ? noun : `${noun}s`}`;
}

function adapterText(adapter: AdapterInfo): string {
  // A CPU's description says how many threads it lends.
  if (backendOf(adapter) === 'wasm') return `CPU, ${adapter.description}`;
  return [adapter.vendor, adapter.architecture, adapter.isFallbackAdapter ? '(software)' : '']
    .filter(Boolean)
    .join(' ');
}

function creditOf(peer: PeerSession): Pick<PeerView, 'credit'> {
  const contribution = peer.contribution();
  if (!contribution) return {};
  const { name, total } = contribution;
  return { credit: { name, tokens: total.tokens, rows: total.rows, verifiedRows: total.verifiedRows } };
}
