import { steadyUnixMs } from '../base/clock.ts';
import { foreignNetworks } from '../base/address.ts';
import type { Cluster } from '../cluster/cluster.ts';
import type { Dispatcher } from '../laps/dispatcher.ts';
import { answerWork } from '../laps/lap-figures.ts';
import type { ExpertThread } from '../local-experts/expert-thread.ts';
import type { WeightsHealth } from '../local-experts/weights-health.ts';
import type { Records } from '../records/index.ts';
import type { EncoderScheduler } from '../scheduler/encoder/encoder-scheduler.ts';
import { refusedBy } from '../scheduler/generation.ts';
import type { Scheduler } from '../scheduler/scheduler.ts';
import type { PeerSession } from '../swarm/peer-session.ts';
import type { Swarm } from '../swarm/swarm.ts';
import type { Trust } from '../trust/trust.ts';
import type { CoverageFacts, Facts, MachineFacts, SpeedFacts, TabFacts } from './facts.ts';
import { Recent, remember } from './recent.ts';

/** Laps from which on their median says how fast the tabs are. */
const ENOUGH_LAPS = 64;

export interface FactSources {
  swarm: Swarm;
  trust: Pick<Trust, 'events'>;
  scheduler: Scheduler;
  encoder?: EncoderScheduler | undefined;
  dispatcher: Dispatcher;
  /** Computes what no tab does. */
  work: Pick<ExpertThread, 'ownMsPerAssignment'>;
  health: WeightsHealth;
  /** Undefined if nothing is kept. */
  records: Records | undefined;
  cluster: Cluster;
  /** Copies of each expert that are asked for now. */
  replicas: () => number;
  /** Memory for experts that the coordinator computes, and what all of them take. */
  expertMemoryBytes: number;
  allExpertsBytes: number;
  /** Of one pass. */
  lapsPerPass: number;
  /** What the machine's own probes last found. */
  probes: () => Pick<MachineFacts, 'disks' | 'certificate' | 'clock'>;
}

/** Collects what the rules look at, and remembers what happened lately. */
export class FactGatherer {
  readonly #sources: FactSources;
  readonly #startedMs = steadyUnixMs();
  readonly #recent = new Recent();
  readonly #left: { atMs: number }[] = [];
  readonly #wrong: { atMs: number; peerId: string; what: string }[] = [];
  readonly #gone: { name: string; atMs: number }[] = [];
  readonly #stops: (() => void)[] = [];
  #awaySinceMs: number | undefined;

  constructor(sources: FactSources) {
    this.#sources = sources;
    const { swarm, trust, scheduler, cluster, records } = sources;
    const onLeft = (peer: PeerSession): void => {
      if (peer.hasServed) remember(this.#left, { atMs: steadyUnixMs() });
    };
    const onWrong = (peerId: string, { what }: { what: string }): void =>
      remember(this.#wrong, { atMs: steadyUnixMs(), peerId, what });
    const onWait = (wait: string, ms: number): void => {
      if (wait === 'firstToken') this.#recent.firstToken(steadyUnixMs(), ms);
    };
    const onGone = ({ name }: { name: string }): void => remember(this.#gone, { name, atMs: steadyUnixMs() });
    const onAway = (): void => void (this.#awaySinceMs ??= steadyUnixMs());
    const onBack = (): void => void (this.#awaySinceMs = undefined);
    swarm.visits.on('left', onLeft);
    trust.events.on('wrong', onWrong);
    scheduler.latency.events.on('wait', onWait);
    cluster.members.events.on('left', onGone);
    records?.database.events.on('away', onAway).on('back', onBack);
    this.#stops.push(
      () => swarm.visits.off('left', onLeft),
      () => trust.events.off('wrong', onWrong),
      () => scheduler.latency.events.off('wait', onWait),
      () => cluster.members.events.off('left', onGone),
      () => records?.database.events.off('away', onAway).off('back', onBack),
    );
  }

  facts(): Facts {
    const { scheduler, encoder, dispatcher } = this.#sources;
    const { figures } = dispatcher;
    const nowMs = steadyUnixMs();
    const tabs = this.#tabs();
    const counted = {
      work: answerWork(figures),
      fallback: figures.fallbackAssignments,
      refused: refusedBy(encoder ?? scheduler),
    };
    return {
      nowMs,
      startedMs: this.#startedMs,
      tabs,
      coverage: this.#coverage(),
      recent: this.#recent.facts(nowMs, counted, tabs.serving > 0),
      speed: this.#speed(),
      machine: this.#machine(nowMs),
    };
  }

  close(): void {
    for (const stop of this.#stops) stop();
  }

  #tabs(): TabFacts {
    const { swarm } = this.#sources;
    const serving = new Set([...swarm.servingAnywhere()].map(({ peerId }) => peerId));
    const counts = { joining: 0, paused: 0, resting: 0, spare: 0 };
    for (const { peerId, state } of swarm.peers) {
      if (serving.has(peerId)) continue;
      if (state === 'paused') counts.paused++;
      else if (state === 'resting') counts.resting++;
      else if (state === 'connecting' || state === 'loading' || state === 'testing') counts.joining++;
      else counts.spare++;
    }
    const troubled = swarm.peers.flatMap(({ peerId, note }) => (note === undefined ? [] : [{ peerId, note }]));
    return { serving: serving.size, ...counts, troubled, left: this.#left, wrong: this.#wrong };
  }

  #coverage(): CoverageFacts {
    const { swarm, replicas } = this.#sources;
    const wanted = replicas();
    const experts = swarm.model.layers.length * swarm.model.expertsPerLayer;
    return { experts, replicas: wanted, ...coverageOf([...swarm.servingAnywhere()], experts, wanted) };
  }

  #speed(): SpeedFacts {
    const { dispatcher, scheduler, work, lapsPerPass, expertMemoryBytes, allExpertsBytes } = this.#sources;
    const { lapMs, lapAssignments } = dispatcher.figures;
    const ms = lapMs.quantile(0.5);
    const assignments = lapAssignments.quantile(0.5);
    return {
      lap: lapMs.length < ENOUGH_LAPS || ms === null || assignments === null ? null : { ms, assignments },
      ownMsPerAssignment: work.ownMsPerAssignment,
      engineMs: scheduler.engineMs.quantile(0.5),
      lapsPerPass,
      hasRoomForAll: allExpertsBytes <= expertMemoryBytes,
      allExpertsBytes,
    };
  }

  #machine(nowMs: number): MachineFacts {
    const { health, records, cluster, probes } = this.#sources;
    const isAway = records?.database.isAway ?? false;
    if (isAway) this.#awaySinceMs ??= nowMs;
    else this.#awaySinceMs = undefined;
    const lost = [...(records?.queue.lost.values() ?? [])].reduce((sum, count) => sum + count, 0);
    const alive = new Set(cluster.members.alive().map(({ name }) => name));
    return {
      damagedFiles: health.damaged,
      database: records && {
        awayForMs: this.#awaySinceMs === undefined ? 0 : nowMs - this.#awaySinceMs,
        waitingRows: records.queue.rows,
        lostRows: lost,
      },
      ...probes(),
      membersGone: this.#gone.filter(({ name }) => !alive.has(name)),
    };
  }
}

interface Holder {
  readonly peerId: string;
  readonly donorId: string;
  readonly address: string;
  readonly live: ReadonlySet<number>;
}

/** How experts lie on donors and addresses. Copies count by donors: two tabs of one browser end together. */
export function coverageOf(
  tabs: readonly Holder[],
  experts: number,
  replicas: number,
): Omit<CoverageFacts, 'experts' | 'replicas'> {
  const donorIds = new Map<string, number>();
  const addresses = new Map<string, number>();
  const firstTab: string[] = [];
  const NOBODY = -1;
  const SEVERAL = -2;
  const counts = new Uint16Array(experts);
  /** By expert: who alone holds it. */
  const onlyDonor = new Int32Array(experts).fill(NOBODY);
  const onlyAddress = new Int32Array(experts).fill(NOBODY);
  // Tabs of one donor lie together, so that each counts once for an expert.
  const lastDonor = new Int32Array(experts).fill(NOBODY);
  for (const { peerId, donorId, address, live } of tabs.toSorted((a, b) => (a.donorId < b.donorId ? -1 : 1))) {
    const donor = numberOf(donorIds, donorId);
    firstTab[donor] ??= peerId;
    // Those of this machine itself, or of a proxy on it, are no single line.
    const network = foreignNetworks(address)[0]?.key;
    const place = network === undefined ? SEVERAL : numberOf(addresses, network);
    for (const expert of live) {
      if (lastDonor[expert] !== donor) counts[expert]!++;
      lastDonor[expert] = donor;
      onlyDonor[expert] = onlyDonor[expert] === NOBODY || onlyDonor[expert] === donor ? donor : SEVERAL;
      onlyAddress[expert] = onlyAddress[expert] === NOBODY || onlyAddress[expert] === place ? place : SEVERAL;
    }
  }
  const byDonor = most(onlyDonor, donorIds.size);
  const byAddress = most(onlyAddress, addresses.size);
  const names = [...addresses.keys()];
  return {
    uncovered: counts.filter((count) => count === 0).length,
    short: counts.filter((count) => count < replicas).length,
    donors: donorIds.size,
    heaviestDonor: byDonor && { tab: firstTab[byDonor.index]!, alone: byDonor.count },
    heaviestAddress:
      byAddress && addresses.size > 1 ? { address: names[byAddress.index]!, alone: byAddress.count } : null,
  };
}

function numberOf(known: Map<string, number>, name: string): number {
  let index = known.get(name);
  if (index === undefined) known.set(name, (index = known.size));
  return index;
}

/** The index that occurs most often; null where there is none. */
function most(indices: Int32Array, size: number): { index: number; count: number } | null {
  if (size === 0) return null;
  const counts = new Uint32Array(size);
  for (const index of indices) if (index >= 0) counts[index]!++;
  const count = Math.max(...counts);
  return { index: counts.indexOf(count), count };
}
