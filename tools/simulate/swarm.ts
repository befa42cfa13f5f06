import type { Rng } from '@shoal/model';
import {
  capacityInExperts,
  type ExpertIndex,
  hashPlacement,
  MoveAllowance,
  type PlacementModel,
  type PlacementPlan,
  planPlacement,
  roundRobinPlacement,
} from '@shoal/placement';
import {
  DISTRIBUTIONS,
  drawAbsenceMs,
  drawDonor,
  drawRestOfVisitMs,
  drawVisitMs,
  availability,
  type SimDonor,
} from './donors.ts';
import { Events } from './events.ts';
import { BITS_PER_WEIGHT } from './models.ts';

export type Planner = 'shoal' | 'hash' | 'round-robin';

export interface SwarmOptions {
  donors: number;
  replicas: number;
  planner: Planner;
  /** The coordinator's own line, over which all shards go. */
  uplinkGbitPerS: number;
  load: () => ArrayLike<number>;
  rng: Rng;
}

type SwarmEvent =
  | { type: 'join'; donor: number }
  | { type: 'leave'; donor: number; visit: number }
  | { type: 'noticed'; donor: number; visit: number }
  | { type: 'ready'; donor: number; visit: number; experts: readonly ExpertIndex[] }
  | { type: 'plan' }
  | { type: 'retire'; epoch: number };

interface Tab {
  donor: SimDonor;
  here: boolean;
  /** Counts visits, so that what was scheduled for an earlier one is recognised. */
  visit: number;
  goneAtMs: number;
  /** The coordinator counts on it: from its join until its departure is noticed. */
  known: boolean;
  target: ReadonlySet<ExpertIndex>;
  live: Set<ExpertIndex>;
  /** On their way to it. */
  loading: Set<ExpertIndex>;
  /** Shards that its browser keeps, from visit to visit. */
  cached: Set<ExpertIndex>;
}

/** The coordinator's timing, as `coordinator/src/swarm/swarm.ts` has it. */
const JOIN_DELAY_MS = 150;
const LEAVE_DELAY_MS = 2_500;
/** A goodbye or a closed socket is known at once; of a silent departure, laps and heartbeats tell within this. */
const SILENCE_NOTICED_MS = 5_000;
/** Re-planning again for moves that the byte budget put off. */
const DEFERRED_PLAN_MS = 60_000;

/** Donors' tabs over virtual time: they come, load what the plan gives them, serve, and go. */
export class SimSwarm {
  readonly tabs: Tab[];
  /** By expert: tabs that serve it, as far as the coordinator knows. */
  readonly holders: number[][];
  readonly counted = { joins: 0, leaves: 0, plans: 0, fetchedBytes: 0, movedBytes: 0, fromCacheBytes: 0 };
  readonly planMs: number[] = [];
  plan: PlacementPlan = { epoch: 0, held: new Map() };
  readonly #model: PlacementModel;
  readonly #options: SwarmOptions;
  readonly #events = new Events<SwarmEvent>();
  #planAtMs = Number.POSITIVE_INFINITY;
  readonly #allowance = new MoveAllowance();
  #uplinkFreeMs = 0;

  constructor(model: PlacementModel, options: SwarmOptions) {
    this.#model = model;
    this.#options = options;
    const { rng } = options;
    this.holders = Array.from({ length: model.layers.length * model.expertsPerLayer }, () => []);
    const weightsPerExpert = (model.shardBytes * 8) / BITS_PER_WEIGHT;
    this.tabs = Array.from({ length: options.donors }, (_, index) => ({
      donor: drawDonor(index, rng, weightsPerExpert),
      here: false,
      visit: 0,
      goneAtMs: Number.POSITIVE_INFINITY,
      known: false,
      target: new Set(),
      live: new Set(),
      loading: new Set(),
      cached: new Set(),
    }));
    for (let donor = 0; donor < options.donors; donor++) {
      this.#events.schedule(rng() < availability() ? 0 : drawAbsenceMs(rng), { type: 'join', donor });
    }
  }

  get online(): number {
    return this.tabs.filter((tab) => tab.here).length;
  }

  get nextEventMs(): number {
    return this.#events.nextMs;
  }

  /** Experts that no live tab serves. */
  uncovered(): number {
    return this.holders.filter((tabs) => !tabs.some((tab) => this.tabs[tab]!.here)).length;
  }

  /** Let everything happen up to then. */
  advance(untilMs: number): void {
    for (let next = this.#events.takeUntil(untilMs); next; next = this.#events.takeUntil(untilMs)) {
      this.#happen(next.event, next.atMs);
    }
  }

  #happen(event: SwarmEvent, nowMs: number): void {
    switch (event.type) {
      case 'join':
        return this.#join(event.donor, nowMs);
      case 'leave':
        return this.#leave(event.donor, event.visit, nowMs);
      case 'noticed':
        return this.#noticed(event.donor, event.visit, nowMs);
      case 'ready':
        return this.#ready(event.donor, event.visit, event.experts);
      case 'plan':
        return this.#replan(nowMs);
      case 'retire':
        return this.#retire(event.epoch);
      default:
        event satisfies never;
    }
  }

  #join(index: number, nowMs: number): void {
    const tab = this.tabs[index]!;
    // Back before its silent departure was noticed: the new connection replaces the old one.
    if (tab.known) this.#forget(index);
    tab.here = true;
    tab.known = true;
    tab.visit++;
    const { rng } = this.#options;
    tab.goneAtMs = nowMs + (nowMs === 0 ? drawRestOfVisitMs(rng) : drawVisitMs(rng));
    this.counted.joins++;
    this.#events.schedule(tab.goneAtMs, { type: 'leave', donor: index, visit: tab.visit });
    this.#planSoon(nowMs + JOIN_DELAY_MS);
  }

  #leave(index: number, visit: number, nowMs: number): void {
    const tab = this.tabs[index]!;
    tab.here = false;
    this.counted.leaves++;
    const silent = this.#options.rng() < DISTRIBUTIONS.silentShare;
    this.#events.schedule(nowMs + (silent ? SILENCE_NOTICED_MS : 0), { type: 'noticed', donor: index, visit });
    this.#events.schedule(nowMs + drawAbsenceMs(this.#options.rng), { type: 'join', donor: index });
  }

  #noticed(index: number, visit: number, nowMs: number): void {
    const tab = this.tabs[index]!;
    if (!tab.known || tab.visit !== visit) return;
    this.#forget(index);
    this.#planSoon(nowMs + LEAVE_DELAY_MS);
  }

  #forget(index: number): void {
    const tab = this.tabs[index]!;
    tab.known = false;
    this.#serve(index, new Set());
    tab.target = new Set();
    tab.loading.clear();
  }

  #planSoon(atMs: number): void {
    if (atMs >= this.#planAtMs) return;
    this.#planAtMs = atMs;
    this.#events.schedule(atMs, { type: 'plan' });
  }

  #replan(nowMs: number): void {
    if (nowMs < this.#planAtMs) return;
    this.#planAtMs = Number.POSITIVE_INFINITY;
    const known = [...this.tabs.entries()].filter(([, tab]) => tab.known);
    const startedMs = performance.now();
    this.plan = this.#plan(known, nowMs);
    this.planMs.push(performance.now() - startedMs);
    this.counted.plans++;
    let allReadyMs = nowMs;
    for (const [index, tab] of known) {
      const readyMs = this.#steer(index, tab, new Set(this.plan.held.get(tab.donor.peer.peerId)), nowMs);
      allReadyMs = Math.max(allReadyMs, readyMs);
    }
    this.#events.schedule(allReadyMs, { type: 'retire', epoch: this.plan.epoch });
  }

  #plan(known: readonly (readonly [number, Tab])[], nowMs: number): PlacementPlan {
    const { planner, replicas, load } = this.#options;
    const peers = known.map(([, tab]) => tab.donor.peer);
    const epoch = this.plan.epoch + 1;
    if (planner === 'hash') return { ...hashPlacement(this.#model, peers, replicas), epoch };
    if (planner === 'round-robin') return { ...roundRobinPlacement(this.#model, peers, replicas), epoch };
    const held = new Map(
      known.map(([, tab]) => {
        const before = tab.target.size > 0 ? tab.target : tab.cached;
        return [tab.donor.peer.peerId, [...before].sort((a, b) => a - b)];
      }),
    );
    const previous = { epoch: this.plan.epoch, held };
    // The first plan has everything to place and nothing to move.
    const maxMoveBytes = this.plan.epoch === 0 ? Number.POSITIVE_INFINITY : this.#allowance.at(nowMs);
    const plan = planPlacement(this.#model, peers, { replicas, previous, load: load(), maxMoveBytes });
    if (this.plan.epoch > 0) this.#allowance.spend(plan.movedBytes);
    this.counted.movedBytes += plan.movedBytes;
    if (plan.deferred) this.#planSoon(nowMs + DEFERRED_PLAN_MS);
    return plan;
  }

  /** Give a tab its new target; returns when it will have loaded it. */
  #steer(index: number, tab: Tab, target: ReadonlySet<ExpertIndex>, nowMs: number): number {
    const unchanged = target.size === tab.target.size && [...target].every((expert) => tab.target.has(expert));
    if (unchanged) return nowMs;
    const { shardBytes } = this.#model;
    const fresh = [...target].filter((expert) => !tab.live.has(expert) && !tab.loading.has(expert));
    const download = fresh.filter((expert) => !tab.cached.has(expert));
    this.counted.fetchedBytes += download.length * shardBytes;
    this.counted.fromCacheBytes += (fresh.length - download.length) * shardBytes;
    const readyMs = nowMs + this.#downloadMs(tab, download.length * shardBytes, nowMs);
    tab.target = target;
    for (const expert of fresh) tab.loading.add(expert);
    // As `coordinator/src/swarm/rollout.ts` does: what it loses it goes on serving, unless its memory forbids that.
    const union = new Set([...tab.live, ...target]);
    if (union.size > capacityInExperts(tab.donor.peer.pledgeBytes, shardBytes)) this.#keepTarget(index);
    this.#events.schedule(readyMs, { type: 'ready', donor: index, visit: tab.visit, experts: fresh });
    return readyMs;
  }

  /** Shards are sent one peer after another; those of the first plan are there already, as in a swarm that has run for long. */
  #downloadMs(tab: Tab, bytes: number, nowMs: number): number {
    if (this.plan.epoch === 1 || bytes === 0) return 0;
    const uplinkBytesPerMs = (this.#options.uplinkGbitPerS * 1e6) / 8;
    this.#uplinkFreeMs = Math.max(this.#uplinkFreeMs, nowMs) + bytes / uplinkBytesPerMs;
    return Math.max(this.#uplinkFreeMs - nowMs, bytes / tab.donor.downloadBytesPerMs);
  }

  #ready(index: number, visit: number, experts: readonly ExpertIndex[]): void {
    const tab = this.tabs[index]!;
    if (!tab.known || tab.visit !== visit) return;
    const serves = new Set(tab.live);
    for (const expert of experts) {
      tab.loading.delete(expert);
      tab.cached.add(expert);
      if (tab.target.has(expert)) serves.add(expert);
    }
    this.#serve(index, serves);
  }

  #retire(epoch: number): void {
    if (epoch !== this.plan.epoch) return;
    for (const [index, tab] of this.tabs.entries()) if (tab.known) this.#keepTarget(index);
  }

  #keepTarget(index: number): void {
    const { live, target } = this.tabs[index]!;
    const kept = new Set([...live].filter((expert) => target.has(expert)));
    if (kept.size < live.size) this.#serve(index, kept);
  }

  #serve(index: number, experts: Set<ExpertIndex>): void {
    const tab = this.tabs[index]!;
    for (const expert of tab.live) {
      if (experts.has(expert)) continue;
      const holders = this.holders[expert]!;
      holders.splice(holders.indexOf(index), 1);
    }
    for (const expert of experts) if (!tab.live.has(expert)) this.holders[expert]!.push(index);
    tab.live = experts;
  }
}
