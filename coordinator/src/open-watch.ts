import { isMoeLayer } from '@shoal/model';
import { Alerter, databaseAlerts, forgetfulAlerts, Webhook } from './alerts/index.ts';
import { AttentionWatch, FactGatherer, Probes, TabClocks } from './attention/index.ts';
import { steadyUnixMs } from './base/clock.ts';
import { VERSION } from './base/version.ts';
import type { Config } from './config.ts';
import type { Core } from './core.ts';
import { DatabaseHistory, historyOf, MemoryHistory, Sampler } from './history/index.ts';
import type { WatchAccess } from './http/index.ts';
import { answerWork } from './laps/lap-figures.ts';
import { lapsPerPass } from './local-experts/choose-layers.ts';
import { expertMemoryOf } from './local-experts/local-experts.ts';
import type { JoinedCluster } from './open-cluster.ts';
import { databasePlace } from './open-database.ts';
import { refusedBy } from './scheduler/generation.ts';

/** What looks after a coordinator while nobody looks at it. */
export interface Watch extends WatchAccess {
  attention: AttentionWatch;
  close(): void;
}

export function openWatch(core: Core, config: Config, joined: JoinedCluster): Watch {
  const { attention, ...opened } = openAttention(core, config, joined);
  const { store, sampler } = openHistory(core, joined);
  const alerts = openAlerts(core, config, joined);
  attention.events.on('looked', (items) => alerts.alerter.take(items));
  attention.look();
  return {
    attention,
    history: (query) => historyOf(store, query, Date.now()),
    alerts: () => alerts.alerter.view,
    async testAlert(admin) {
      const delivery = await alerts.alerter.test(admin);
      return delivery.ok ? null : delivery.why;
    },
    close() {
      attention.close();
      opened.close();
      alerts.close();
      sampler.close();
    },
  };
}

function openAttention(core: Core, config: Config, { cluster, shared }: JoinedCluster) {
  const { swarm, records } = core;
  const place = databasePlace(config);
  const tabClocks = new TabClocks(swarm);
  const probes = new Probes({
    disks: [
      { what: 'the packed model', dir: core.packed.dir },
      ...(place?.kind === 'embedded' ? [{ what: 'the database', dir: place.dir }] : []),
    ],
    publicUrl: config.publicUrl,
    database: records?.database,
    tabOffsetsMs: () => tabClocks.offsetsMs,
  });
  const { shardBytes, expertsPerLayer, expertLayers } = core.packed.manifest;
  const layers = expertLayers.filter((layer) => layer < core.config.numHiddenLayers && isMoeLayer(core.config, layer));
  const facts = new FactGatherer({
    ...core,
    cluster,
    replicas: () => core.settings.get('replicas'),
    expertMemoryBytes: expertMemoryOf(config),
    allExpertsBytes: layers.length * expertsPerLayer * shardBytes,
    lapsPerPass: lapsPerPass(core.config, core.localLayers),
    probes: () => probes.found,
  });
  const attention = new AttentionWatch(() => facts.facts(), cluster, shared && cluster.members.self.name);
  return {
    attention,
    close() {
      facts.close();
      probes.close();
      tabClocks.close();
    },
  };
}

function openHistory(core: Core, { cluster }: JoinedCluster) {
  const { scheduler, encoder, dispatcher, swarm, records, events } = core;
  const member = cluster.members.self.name;
  const kept = records && { database: records.database, queue: records.queue };
  const store = kept ? new DatabaseHistory({ ...kept, cluster: cluster.key, member }) : new MemoryHistory(member);
  let errors = 0;
  // A request that failed is an error in the log, at the coordinator that answered it.
  events.events.on('added', ({ kind, level, coordinator }) => {
    if (kind === 'request' && level === 'error' && coordinator === undefined) errors++;
  });
  const experts = swarm.model.layers.length * swarm.model.expertsPerLayer;
  const sampler = new Sampler({
    counters: () => {
      const { figures } = dispatcher;
      const wire = swarm.wireBytes;
      return {
        tokens: encoder ? encoder.counts.tokens : scheduler.tokens,
        laps: figures.laps,
        bytes: wire.sent + wire.received,
        work: answerWork(figures),
        fallback: figures.fallbackAssignments,
        errors,
        refused: refusedBy(encoder ?? scheduler),
      };
    },
    levels: () => ({
      streams: encoder ? encoder.jobs.filter(({ taken }) => taken > 0).length : scheduler.running.length,
      queued: encoder ? encoder.jobs.filter(({ taken }) => taken === 0).length : scheduler.queued.length,
      tabs: swarm.peers.length,
      experts,
      covered: experts - swarm.uncovered(),
    }),
    take: (atMs, sample) => store.add(atMs, sample),
  });
  scheduler.latency.events.on('wait', (wait, ms) => wait === 'firstToken' && sampler.firstToken(ms));
  return { store, sampler };
}

function openAlerts(core: Core, config: Config, { cluster }: JoinedCluster) {
  const { records, events, scheduler, settings } = core;
  const { members, lease } = cluster;
  const url = (): URL | undefined => {
    const given = settings.get('alertWebhook');
    return given === '' ? undefined : new URL(given);
  };
  const webhook = new Webhook({
    url,
    secret: config.alertSecret,
    userAgent: `shoal/${VERSION}`,
    onGivenUp: ({ summary }, why) =>
      events.add({ level: 'error', kind: 'server', text: `An alert could not be delivered (${why}): ${summary}` }),
  });
  // While no coordinator reaches the database nobody leads, and that is told by the one that led last.
  let ledLast = lease.leader === members.self.id;
  const onLeader = (leader: string | undefined): void => {
    if (leader !== undefined) ledLast = leader === members.self.id;
  };
  lease.events.on('leader', onLeader);
  const alerter = new Alerter({
    webhook,
    url,
    isSigned: config.alertSecret !== undefined,
    store: records ? databaseAlerts(records.database, records.queue, cluster.key) : forgetfulAlerts,
    tells: () => lease.leader === members.self.id || (members.isCut && ledLast),
    model: scheduler.modelId,
    sender: members.self.name,
    publicUrl: config.publicUrl,
    now: steadyUnixMs,
  });
  return {
    alerter,
    close() {
      lease.events.off('leader', onLeader);
      webhook.close();
    },
  };
}
