import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { Dispatcher } from '../dispatch/dispatcher.ts';
import type { Engine } from '../engine/engine.ts';
import type { Swarm } from '../swarm/swarm.ts';
import type { Trust } from '../trust/trust.ts';

export interface MetricSources {
  engine: Engine;
  dispatcher: Dispatcher;
  swarm: Swarm;
  trust: Trust;
}

/** Prometheus metrics of engine, dispatch and swarm: counters read where they are kept, at scrape time. */
export function registerMetrics(registry: Registry, sources: MetricSources): void {
  const { engine, dispatcher, swarm, trust } = sources;
  collectDefaultMetrics({ register: registry });
  const total = (name: string, help: string, read: () => number): void => {
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
  const now = (name: string, help: string, read: () => number): void => {
    const gauge: Gauge = new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        gauge.set(read());
      },
    });
  };
  total('shoal_tokens_generated_total', 'Tokens generated.', () => engine.tokens);
  total('shoal_rows_total', 'Rows (prompt and generated tokens) passed through the model.', () => engine.rows);
  total('shoal_passes_total', 'Forward passes over a batch.', () => engine.passes);
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
  now('shoal_requests_running', 'Requests being decoded.', () => engine.running.length);
  now('shoal_requests_queued', 'Requests waiting for a place in the batch.', () => engine.queued.length);
  now('shoal_kv_bytes', 'KV cache allocated.', () => engine.kvBytesInUse);
  now('shoal_kv_bytes_per_token', 'KV cache of one more token of one answer.', () => engine.kvBytesPerToken);
  total('shoal_prompt_positions_total', 'Positions of prompts that were begun.', () => engine.prefix.positions);
  total(
    'shoal_prompt_positions_reused_total',
    'Those of them that were not computed again, since another prompt began alike.',
    () => engine.prefix.reused,
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
}

function registerWire(registry: Registry, { swarm }: MetricSources): void {
  const wire = new Counter({
    name: 'shoal_wire_bytes_total',
    help: 'Bytes on lap channels as the links count them: frames, fragment headers, heartbeats; without SCTP and below.',
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

function registerByLabel(registry: Registry, { dispatcher, swarm, trust }: MetricSources): void {
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
    help: 'Row × expert work, by who did it.',
    labelNames: ['by'] as const,
    registers: [registry],
    collect() {
      work.reset();
      work.inc({ by: 'tab' }, dispatcher.tabAssignments);
      work.inc({ by: 'coordinator' }, dispatcher.localAssignments);
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

/** Buckets in seconds, from a kernel on loopback to a swarm across oceans. */
export function lapHistogram(registry: Registry): Histogram {
  return new Histogram({
    name: 'shoal_lap_seconds',
    help: 'Time of laps that tabs took part in.',
    buckets: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5],
    registers: [registry],
  });
}
