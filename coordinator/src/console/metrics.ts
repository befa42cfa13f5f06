import type { ModelConfig } from '@shoal/model';
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { Dispatcher } from '../laps/dispatcher.ts';
import type { LocalLayerChoice } from '../local-experts/choose-layers.ts';
import type { Scheduler } from '../scheduler/scheduler.ts';
import { type Wait, WAITS } from '../scheduler/latency.ts';
import type { Swarm } from '../swarm/swarm.ts';
import type { Trust } from '../trust/trust.ts';
import { mhaBytesPerToken } from './kv-figures.ts';

export interface MetricSources {
  config: ModelConfig;
  scheduler: Scheduler;
  dispatcher: Dispatcher;
  swarm: Swarm;
  localLayers: LocalLayerChoice;
  trust: Trust;
}

/** Prometheus metrics of scheduler, dispatch and swarm: counters read where they are kept, at scrape time. */
export function registerMetrics(registry: Registry, sources: MetricSources): void {
  const { config, scheduler, dispatcher, swarm, localLayers, trust } = sources;
  collectDefaultMetrics({ register: registry });
  const total: Register = (name, help, read) => {
    const counter = new Counter({
      name,
      help,
      registers: [registry],
      collect() {
        counter.reset();
        counter.inc(read());
      },
    });
  };
  const now: Register = (name, help, read) => {
    const gauge: Gauge = new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        gauge.set(read());
      },
    });
  };
  total('shoal_tokens_generated_total', 'Tokens generated.', () => scheduler.tokens);
  total('shoal_rows_total', 'Rows (prompt and generated tokens) passed through the model.', () => scheduler.rows);
  total('shoal_passes_total', 'Forward passes over a batch.', () => scheduler.passes);
  total(
    'shoal_engine_busy_seconds_total',
    'Time in which a pass had the scheduler.',
    () => scheduler.occupancy.busyMs / 1000,
  );
  total(
    'shoal_engine_waiting_seconds_total',
    'Time in which all passes in flight waited for their experts: laps, or own ones.',
    () => scheduler.occupancy.waitingMs / 1000,
  );
  total(
    'shoal_engine_overlapped_seconds_total',
    'Time in which one pass had the scheduler while the laps of another were out.',
    () => scheduler.occupancy.overlappedMs / 1000,
  );
  now('shoal_lanes', 'Passes that there may be at a time: 1, or 2 half-batches.', () => scheduler.microBatches);
  now('shoal_passes_in_flight', 'Passes at this moment.', () => scheduler.occupancy.passes);
  total('shoal_laps_total', 'Laps: dispatch and combine of one MoE layer and batch.', () => dispatcher.laps);
  total(
    'shoal_lap_redispatches_total',
    'Laps that one peer failed and another or the coordinator did.',
    () => dispatcher.redispatches,
  );
  total(
    'shoal_lap_hedges_total',
    'Laps that a replica was asked for as well, the first tab being late.',
    () => dispatcher.hedges,
  );
  total(
    'shoal_device_limited_choices_total',
    'Tokens × MoE layers routed under a device limit.',
    () => dispatcher.limitedChoices,
  );
  total(
    'shoal_device_limit_changes_total',
    'Of those, where the limit changed the experts.',
    () => dispatcher.changedChoices,
  );
  total('shoal_lap_frame_bytes_total', 'Bytes of lap frames, both ways.', () => dispatcher.frameBytes);
  total(
    'shoal_wire_test_bytes_total',
    'Bytes on lap channels, both ways, that passed while tabs were tested before they served.',
    () => swarm.wireBytes.tests,
  );
  total('shoal_peers_joined_total', 'Tabs that joined.', () => swarm.joined);
  total('shoal_peers_departed_total', 'Tabs that left, for whatever reason.', () => swarm.departed);
  total('shoal_quarantined_peers_total', 'Tabs kept out for wrong results.', () => trust.quarantine.total);
  total(
    'shoal_unchecked_rows_total',
    'Rows of tabs found out later that entered answers since their last good audit.',
    () => trust.counts.unchecked,
  );
  total(
    'shoal_audits_put_off_total',
    'Rows due for an audit for which there was no processor time: later rows took their turn.',
    () => trust.counts.putOff,
  );
  now('shoal_requests_running', 'Requests being decoded.', () => scheduler.running.length);
  now('shoal_requests_queued', 'Requests waiting for a place in the batch.', () => scheduler.queued.length);
  now('shoal_kv_bytes', 'KV cache allocated.', () => scheduler.kvBytesInUse);
  now(
    'shoal_kv_kept_bytes',
    'KV cache of ended requests, kept in case that another begins alike; it grows until --kv-memory is full.',
    () => scheduler.kvBytesKept,
  );
  now('shoal_kv_bytes_per_token', 'KV cache of one more token of one answer.', () => scheduler.kvBytesPerToken);
  now(
    'shoal_kv_bytes_per_token_drafter',
    "The MTP module's own KV cache of one more token of one answer, on top; 0 where it drafts nothing.",
    () => scheduler.speculation.kvBytesPerToken,
  );
  now('shoal_kv_bytes_per_token_mha', 'What plain multi-head attention would keep per token instead.', () =>
    mhaBytesPerToken(config, scheduler.kvBytesPerToken),
  );
  now(
    'shoal_resident_layers',
    'Layers whose experts the coordinator holds itself (--local-experts): they make no lap.',
    () => localLayers.layers.length,
  );
  now(
    'shoal_resident_expert_bytes',
    'Experts in the memory of --local-experts, those of the MTP module included.',
    () => localLayers.bytes,
  );
  total('shoal_prompt_positions_total', 'Positions of prompts that were begun.', () => scheduler.prefix.positions);
  total(
    'shoal_prompt_positions_reused_total',
    'Those of them that were not computed again, since another prompt began alike.',
    () => scheduler.prefix.reused,
  );
  total(
    'shoal_experts_uncovered_by_moves_total',
    'Experts that were without a replica for a while because full tabs had to exchange them.',
    () => swarm.uncoveredByMoves,
  );
  now('shoal_experts_uncovered', 'Experts that no serving tab holds.', () => swarm.uncovered());
  now('shoal_placement_epoch', 'Number of the placement in force.', () => swarm.plan.epoch);
  registerWire(registry, sources);
  registerByLabel(registry, sources);
  registerDrafts(registry, scheduler, total, now);
  registerWaits(registry, scheduler);
}

function registerWire(registry: Registry, { swarm }: MetricSources): void {
  const wire = new Counter({
    name: 'shoal_wire_bytes_total',
    help: 'Bytes on lap channels as the links count them: frames, message headers, heartbeats; without SCTP and below.',
    labelNames: ['direction'] as const,
    registers: [registry],
    collect() {
      wire.reset();
      const { sent, received } = swarm.wireBytes;
      wire.inc({ direction: 'sent' }, sent);
      wire.inc({ direction: 'received' }, received);
    },
  });
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
    help: 'Time from a request to its first token, the queue included.',
    buckets: [0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 60, 120, 300, 600],
  },
  betweenTokens: {
    name: 'shoal_inter_token_seconds',
    help: 'Time from one token of an answer to the next; tokens of one pass count as one.',
    buckets: [0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 15],
  },
};

function registerWaits(registry: Registry, scheduler: Scheduler): void {
  const entries = WAITS.map(
    (wait) => [wait, new Histogram({ ...WAIT_HISTOGRAMS[wait], registers: [registry] })] as const,
  );
  const histograms = new Map(entries);
  scheduler.latency.events.on('wait', (wait, ms) => histograms.get(wait)!.observe(ms / 1000));
}

function registerByLabel(registry: Registry, { scheduler, dispatcher, swarm, trust }: MetricSources): void {
  const refusals = new Counter({
    name: 'shoal_requests_refused_total',
    help: 'Requests that were refused for want of a place in the queue, by reason.',
    labelNames: ['reason'] as const,
    registers: [registry],
    collect() {
      refusals.reset();
      for (const [reason, count] of Object.entries(scheduler.refusals)) refusals.inc({ reason }, count);
    },
  });
  const audits = new Counter({
    name: 'shoal_audits_total',
    help: 'Rows of tabs compared with the own computation, in shadow or after use, by what was found.',
    labelNames: ['result'] as const,
    registers: [registry],
    collect() {
      audits.reset();
      const { right, wrong, incomparable, retracted } = trust.counts;
      for (const [result, rows] of Object.entries({ right, wrong, incomparable, retracted }))
        audits.inc({ result }, rows);
    },
  });
  const work = new Counter({
    name: 'shoal_expert_rows_total',
    help: 'Row × expert work: of tabs, of the coordinator for want of one, of the layers that it holds by plan, and of its drafts.',
    labelNames: ['by'] as const,
    registers: [registry],
    collect() {
      work.reset();
      work.inc({ by: 'tab' }, dispatcher.tabAssignments);
      work.inc({ by: 'coordinator' }, dispatcher.fallbackAssignments);
      work.inc({ by: 'resident' }, dispatcher.localLayerAssignments);
      work.inc({ by: 'drafter' }, dispatcher.draftAssignments);
    },
  });
  const peers = new Gauge({
    name: 'shoal_peers',
    help: 'Tabs, by state.',
    labelNames: ['state'] as const,
    registers: [registry],
    collect() {
      peers.reset();
      for (const peer of swarm.peers) peers.inc({ state: peer.state });
    },
  });
}

/** A figure read at scrape time. */
type Register = (name: string, help: string, read: () => number) => void;

function registerDrafts(registry: Registry, scheduler: Scheduler, total: Register, now: Register): void {
  const { speculation } = scheduler;
  total(
    'shoal_draft_failures_total',
    'Drafting calls that failed: their drafts were done without.',
    () => speculation.failures,
  );
  now(
    'shoal_passes_per_token',
    'Passes that an answer needed for each of its tokens since start: below 1 by drafts that were right.',
    () => scheduler.passesPerToken ?? Number.NaN,
  );
  const drafts = new Counter({
    name: 'shoal_drafts_total',
    help: 'Drafted tokens, by who drafted them, how far ahead (from 1), and whether the model chose them too.',
    labelNames: ['kind', 'depth', 'result'] as const,
    registers: [registry],
    collect() {
      drafts.reset();
      for (const [kind, { drafted, accepted }] of Object.entries(speculation.counts)) {
        for (const [i, count] of drafted.entries()) {
          const depth = String(i + 1);
          drafts.inc({ kind, depth, result: 'accepted' }, accepted[i]!);
          drafts.inc({ kind, depth, result: 'rejected' }, count - accepted[i]!);
        }
      }
    },
  });
}

/** Buckets in seconds, from a kernel on loopback to a swarm across oceans. */
export function lapHistogram(registry: Registry): Histogram {
  return new Histogram({
    name: 'shoal_lap_seconds',
    help: 'Time of laps that tabs took part in.',
    buckets: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5],
    registers: [registry],
  });
}
