import type { ModelConfig } from '@shoal/model';
import { collectDefaultMetrics, Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { Adapters } from '../adapters/adapters.ts';
import type { Access } from '../access/access.ts';
import type { Dispatcher } from '../laps/dispatcher.ts';
import type { LapFigures } from '../laps/lap-figures.ts';
import type { LocalLayerChoice } from '../local-experts/choose-layers.ts';
import type { EncoderScheduler } from '../scheduler/encoder/encoder-scheduler.ts';
import { type Wait, WAITS } from '../scheduler/latency.ts';
import type { WeightsHealth } from '../local-experts/weights-health.ts';
import type { Scheduler } from '../scheduler/scheduler.ts';
import type { Swarm } from '../swarm/swarm.ts';
import type { Trust } from '../trust/trust.ts';
import { mhaBytesPerToken } from './kv-figures.ts';

export interface MetricSources {
  config: ModelConfig;
  scheduler: Scheduler;
  encoder?: EncoderScheduler | undefined;
  dispatcher: Dispatcher;
  swarm: Swarm;
  localLayers: LocalLayerChoice;
  trust: Trust;
  access: Access;
  health: WeightsHealth;
  adapters: Pick<Adapters, 'all' | 'bytes'>;
  /** Its KV cache in bytes; undefined without one. */
  draftModel: { kvBytes(): { inUse: number; kept: number } } | undefined;
}

/** Metrics of one source: name → help and value. By Prometheus's convention, names in `_total` are counters, others gauges. */
export type Metrics<S> = Readonly<Record<string, readonly [help: string, read: (source: S) => number]>>;

const SCHEDULER: Metrics<Scheduler> = {
  shoal_tokens_generated_total: ['Tokens generated.', (s) => s.tokens],
  shoal_rows_total: ['Rows (prompt and generated tokens) computed by passes.', (s) => s.rows],
  shoal_passes_total: ['Passes.', (s) => s.passes],
  shoal_engine_busy_seconds_total: ['Time that passes spent in the dense engine.', (s) => s.occupancy.busyMs / 1000],
  shoal_engine_waiting_seconds_total: [
    'Time in which every pass in flight waited for its experts, on tabs or local.',
    (s) => s.occupancy.waitingMs / 1000,
  ],
  shoal_engine_overlapped_seconds_total: [
    'Time in which the dense engine computed one pass while laps of another were out.',
    (s) => s.occupancy.overlappedMs / 1000,
  ],
  shoal_lanes: ['Micro-batches that may be in flight: 1 or 2.', (s) => s.microBatches],
  shoal_passes_in_flight: ['Passes in flight.', (s) => s.occupancy.passes],
  shoal_requests_running: ['Requests in the batch.', (s) => s.running.length],
  shoal_requests_queued: ['Requests waiting for a place in the batch.', (s) => s.queued.length],
  shoal_kv_bytes: ['KV cache allocated.', (s) => s.kvBytesInUse],
  shoal_kv_kept_bytes: [
    'KV cache of finished requests, kept for requests with the same prefix. It grows until --kv-memory is full.',
    (s) => s.kvBytesKept,
  ],
  shoal_kv_bytes_per_token: ['KV cache per token of one answer.', (s) => s.kvBytesPerToken],
  shoal_kv_bytes_per_token_drafter: [
    'KV cache of the MTP module or of a head per token of one answer, in addition; 0 if neither drafts.',
    (s) => s.speculation.kvBytesPerToken,
  ],
  shoal_prompt_positions_total: ['Positions of prompts that were started.', (s) => s.prefix.positions],
  shoal_prompt_positions_reused_total: [
    'Positions of prompts that were taken from the KV cache of another prompt with the same prefix.',
    (s) => s.prefix.reused,
  ],
  shoal_draft_failures_total: [
    'Drafting calls that failed; passes go on without drafts.',
    (s) => s.speculation.failures,
  ],
  shoal_draft_answers_bytes: [
    'Memory of recent answers, from which drafts are made for the same API key or address.',
    (s) => s.speculation.answersBytes,
  ],
  shoal_passes_per_token: [
    'Passes per generated token since startup; below 1 if drafts were accepted.',
    (s) => s.passesPerToken ?? Number.NaN,
  ],
};

const LAPS: Metrics<LapFigures> = {
  shoal_laps_total: ['Laps: dispatch and combine of one MoE layer and micro-batch.', (d) => d.laps],
  shoal_lap_redispatches_total: ['Laps that one tab failed and another or the coordinator did.', (d) => d.redispatches],
  shoal_lap_trials_total: ['Laps that others computed as well, because the tab is new or has failed.', (d) => d.trials],
  shoal_lap_stand_ins_total: [
    'Laps that the coordinator computed as well, because a tab took too long.',
    (d) => d.standIns,
  ],
  shoal_lap_hedges_total: ['Laps also sent to a replica because the first tab was late.', (d) => d.hedges],
  shoal_device_limited_choices_total: ['Tokens × MoE layers routed under a device limit.', (d) => d.limitedChoices],
  shoal_device_limit_changes_total: ['Tokens × MoE layers where that changed the experts.', (d) => d.changedChoices],
  shoal_lap_frame_bytes_total: ['Bytes of lap frames in both directions.', (d) => d.frameBytes],
};

const SWARM: Metrics<Swarm> = {
  shoal_wire_test_bytes_total: [
    'Bytes on lap channels, in both directions, while tabs were tested before they served.',
    (s) => s.wireBytes.tests,
  ],
  shoal_peers_joined_total: ['Tabs that joined.', (s) => s.joined],
  shoal_peers_departed_total: ['Tabs that left, for any reason.', (s) => s.departed],
  shoal_experts_uncovered_by_moves_total: [
    'Experts that were temporarily without a replica because full tabs had to exchange them.',
    (s) => s.uncoveredByMoves,
  ],
  shoal_experts_uncovered: ['Experts that no serving tab holds.', (s) => s.uncovered()],
  shoal_placement_epoch: ['Epoch of the current placement.', (s) => s.plan.epoch],
};

const TRUST: Metrics<Trust> = {
  shoal_quarantined_peers_total: ['Donors quarantined for wrong results.', (t) => t.quarantine.total],
  shoal_unchecked_rows_total: [
    'Rows of quarantined tabs that entered answers after the last good audit and were not audited.',
    (t) => t.counts.unchecked,
  ],
  shoal_audits_put_off_total: [
    'Rows due for an audit that were skipped for lack of CPU time; later rows were audited instead.',
    (t) => t.counts.putOff,
  ],
};

const OTHER: Metrics<MetricSources> = {
  shoal_adapters: ['LoRA adapters that requests may name.', ({ adapters }) => adapters.all.length],
  shoal_adapter_bytes: [
    'Memory of adapters, those included that were unloaded and still have answers.',
    ({ adapters }) => adapters.bytes,
  ],
  shoal_adapter_tab_bytes: [
    'Low-rank shards of adapters that tabs hold, or are fetching.',
    ({ swarm }) => swarm.adapters?.bytes ?? 0,
  ],
  shoal_adapter_evictions_total: [
    'Low-rank shards that tabs gave up to make room for others, or for experts.',
    ({ swarm }) => swarm.adapters?.evicted ?? 0,
  ],
  shoal_damaged_files: [
    'Files of the packed model that are damaged and could not be packed again.',
    ({ health }) => health.damaged,
  ],
  shoal_mended_files_total: [
    'Damaged files of the packed model that were packed again.',
    ({ health }) => health.mended,
  ],
  shoal_embedding_requests: [
    'Requests for embeddings, waiting or under way.',
    ({ encoder }) => encoder?.jobs.length ?? 0,
  ],
  shoal_embedding_passes_total: ['Passes of an encoder.', ({ encoder }) => encoder?.counts.passes ?? 0],
  shoal_embedding_tokens_total: ['Tokens of embedded texts.', ({ encoder }) => encoder?.counts.tokens ?? 0],
  shoal_embeddings_total: ['Texts embedded.', ({ encoder }) => encoder?.counts.inputs ?? 0],
  shoal_kv_bytes_per_token_mha: [
    'KV cache per token that plain multi-head attention would need instead.',
    ({ config, scheduler }) => mhaBytesPerToken(config, scheduler.kvBytesPerToken),
  ],
  shoal_resident_layers: [
    'Layers whose experts are local by plan (--local-experts) and need no laps.',
    ({ localLayers }) => localLayers.layers.length,
  ],
  shoal_resident_expert_bytes: [
    'Bytes of experts that are local by plan, including those of the MTP module.',
    ({ localLayers }) => localLayers.bytes,
  ],
};

type Labels = Record<string, string>;

/** A metric with one label: its help, the label, and the value for each value of the label. */
type ByLabel<S extends unknown[]> = readonly [
  help: string,
  label: string,
  read: (...sources: S) => Record<string, number>,
];

const BY_LABEL: Record<string, ByLabel<[source: MetricSources]>> = {
  shoal_wire_bytes_total: [
    'Bytes on lap channels: frames, message headers and heartbeats, without SCTP and the layers below.',
    'direction',
    ({ swarm: { wireBytes } }) => ({ sent: wireBytes.sent, received: wireBytes.received }),
  ],
  shoal_requests_refused_total: [
    'Requests refused because the queue was full, by reason.',
    'reason',
    ({ scheduler, encoder }) => ({ ...(encoder ?? scheduler).refusals }),
  ],
  shoal_draft_model_kv_bytes: [
    'KV cache of the draft model: of running requests, and kept of ended ones for those with the same prefix.',
    'state',
    ({ draftModel }) => {
      if (!draftModel) return {};
      const { inUse, kept } = draftModel.kvBytes();
      return { used: inUse, kept };
    },
  ],
  shoal_audits_total: [
    "Rows of tabs compared with the coordinator's own computation, on probation or in audits, by result.",
    'result',
    ({
      trust: {
        counts: { right, wrong, incomparable, retracted },
      },
    }) => ({ right, wrong, incomparable, retracted }),
  ],
  shoal_expert_rows_total: [
    'Row × expert products, by where: on tabs, on the coordinator as fallback, in its local layers, and for drafts.',
    'by',
    ({ dispatcher }) => ({
      tab: dispatcher.figures.tabAssignments,
      coordinator: dispatcher.figures.fallbackAssignments,
      resident: dispatcher.figures.localLayerAssignments,
      drafter: dispatcher.figures.draftAssignments,
    }),
  ],
  shoal_adapted_expert_rows_total: [
    'Row × expert products that adapters add to, by where.',
    'by',
    ({ dispatcher: { figures } }) => ({ tab: figures.tabAdapted, coordinator: figures.fallbackAdapted }),
  ],
  shoal_peers: ['Tabs, by state.', 'state', ({ swarm }) => countBy(swarm.peers.map(({ state }) => state))],
  shoal_access_refusals_total: [
    'Connections, sign-ins, donors, requests and shards refused by an access rule.',
    'what',
    ({ access }) => access.refusals,
  ],
};

function* readDrafts({ scheduler: { speculation } }: MetricSources): Iterable<[Labels, number]> {
  for (const [kind, { drafted, accepted }] of Object.entries(speculation.counts)) {
    for (const [i, count] of drafted.entries()) {
      const depth = String(i + 1);
      yield [{ kind, depth, result: 'accepted' }, accepted[i]!];
      yield [{ kind, depth, result: 'rejected' }, count - accepted[i]!];
    }
  }
}

/** Buckets in seconds: from a pass without laps to the time in which a request must be answered. */
const WAIT_HISTOGRAMS: Record<Wait, { name: string; help: string; buckets: number[] }> = {
  queue: {
    name: 'shoal_queue_wait_seconds',
    help: 'Time from a request to its place in the batch.',
    buckets: [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600],
  },
  firstToken: {
    name: 'shoal_time_to_first_token_seconds',
    help: 'Time from a request to its first token, including the queue.',
    buckets: [0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 60, 120, 300, 600],
  },
  betweenTokens: {
    name: 'shoal_inter_token_seconds',
    help: 'Time from one token of an answer to the next; tokens of one pass count as one.',
    buckets: [0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 15],
  },
};

/** Registers the metrics of scheduler, laps, swarm and access. They are read at scrape time from where they are kept. */
export function registerMetrics(registry: Registry, sources: MetricSources): void {
  collectDefaultMetrics({ register: registry });
  const { scheduler, dispatcher, swarm, trust } = sources;
  registerAll(registry, SCHEDULER, scheduler);
  registerAll(registry, LAPS, dispatcher.figures);
  registerAll(registry, SWARM, swarm);
  registerAll(registry, TRUST, trust);
  registerAll(registry, OTHER, sources);
  for (const [name, [help, label, read]] of Object.entries(BY_LABEL))
    registerByLabel(registry, name, [help, label, () => read(sources)]);
  const draftsHelp = 'Drafted tokens, by drafter, distance (from 1), and whether the model chose the same token.';
  register(registry, 'shoal_drafts_total', draftsHelp, ['kind', 'depth', 'result'], () => readDrafts(sources));
  const histograms = new Map(
    WAITS.map((wait) => [wait, new Histogram({ ...WAIT_HISTOGRAMS[wait], registers: [registry] })]),
  );
  scheduler.latency.events.on('wait', (wait, ms) => histograms.get(wait)!.observe(ms / 1000));
}

export function registerByLabel(registry: Registry, name: string, [help, label, read]: ByLabel<[]>): void {
  register(registry, name, help, [label], () =>
    Object.entries(read()).map(([value, count]) => [{ [label]: value }, count]),
  );
}

export function registerAll<S>(registry: Registry, metrics: Metrics<S>, source: S): void {
  for (const [name, [help, read]] of Object.entries(metrics))
    register(registry, name, help, [], () => [[{}, read(source)]]);
}

function register(
  registry: Registry,
  name: string,
  help: string,
  labelNames: string[],
  read: () => Iterable<[Labels, number]>,
): void {
  const collect = (): void => {
    metric.reset();
    for (const [labels, value] of read()) metric.inc(labels, value);
  };
  const options = { name, help, labelNames, registers: [registry], collect };
  const metric = name.endsWith('_total') ? new Counter(options) : new Gauge(options);
}

function countBy(values: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const value of values) counts[value] = (counts[value] ?? 0) + 1;
  return counts;
}

/** Buckets in seconds, from loopback to a swarm across oceans. */
export function lapHistogram(registry: Registry): Histogram {
  return new Histogram({
    name: 'shoal_lap_seconds',
    help: 'Time of laps that tabs took part in.',
    buckets: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5],
    registers: [registry],
  });
}
