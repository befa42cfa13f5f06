import type { Rng } from '@shoal/model';
import { type ExpertIndex, MoveAllowance, type PlacementPlan, planPlacement } from '@shoal/placement';
import {
  availability,
  drawAbsenceMs,
  drawDonor,
  drawRestOfVisitMs,
  drawVisitMs,
  placementPeerOf,
  type SimDonor,
} from '../donors.ts';
import { Events } from '../events.ts';
import { placementModel, type SimModel, weightsPerExpert } from '../models.ts';

/** Of the donors who come during the simulation, those whose browser has weights of an earlier visit. An assumption. */
export const RETURNING_SHARE = 0.7;
/** From one plan to the next while tabs come and go. */
export const PLAN_EVERY_MS = 2_000;
/** What a browser keeps, in multiples of what its donor lends (KEPT_PLEDGES of the donor page). */
const KEPT_PLEDGES = 2;

/** Where the bytes of experts come from that tabs load during the simulation. */
export interface LoadedBytes {
  /** The browser's own storage. */
  fromCache: number;
  /** Bytes of experts that some other tab holds, and of those that none does. */
  heldElsewhere: number;
  heldNowhere: number;
}

interface Member {
  donor: SimDonor;
  /** Experts in its browser's storage, the least recently used first. */
  kept: Set<ExpertIndex>;
  isPresent: boolean;
}

export interface PopulationOptions {
  /** Tabs that are there at a time, on average. */
  tabs: number;
  replicas: number;
  minutes: number;
  rng: Rng;
}

export interface Population {
  /** The tabs that are there at the end, and what each holds. */
  tabs: { donor: SimDonor; held: readonly ExpertIndex[] }[];
  loaded: LoadedBytes;
  joins: number;
  leaves: number;
  /** Largest wall-clock time of a plan on this machine. */
  slowestPlanMs: number;
}

/** Donors who come and go, under the coordinator's own placement. What they load is counted; lines do not hold it up. */
export function simulatePopulation(model: SimModel, options: PopulationOptions): Population {
  return new Churn(model, options).run();
}

class Churn {
  readonly #placement: ReturnType<typeof placementModel>;
  readonly #options: PopulationOptions;
  readonly #members: Member[];
  readonly #events = new Events<Member>();
  readonly #allowance = new MoveAllowance();
  readonly #loaded: LoadedBytes = { fromCache: 0, heldElsewhere: 0, heldNowhere: 0 };
  #plan: PlacementPlan | undefined;
  #joins = 0;
  #leaves = 0;
  #slowestPlanMs = 0;

  constructor(model: SimModel, options: PopulationOptions) {
    this.#options = options;
    this.#placement = placementModel(model);
    const { rng, tabs } = options;
    const weights = weightsPerExpert(model);
    this.#members = Array.from({ length: Math.round(tabs / availability()) }, (_, i) => {
      const isPresent = rng() < availability();
      return { donor: drawDonor(i, rng, weights), kept: new Set<ExpertIndex>(), isPresent };
    });
    for (const member of this.#members) {
      this.#events.schedule(member.isPresent ? drawRestOfVisitMs(rng) : drawAbsenceMs(rng), member);
    }
  }

  run(): Population {
    this.#replan(0);
    this.#giveReturningTheirWeights();
    Object.assign(this.#loaded, { fromCache: 0, heldElsewhere: 0, heldNowhere: 0 });
    for (let nowMs = PLAN_EVERY_MS; nowMs <= this.#options.minutes * 60_000; nowMs += PLAN_EVERY_MS) {
      this.#comeAndGo(nowMs);
      this.#replan(nowMs);
    }
    const present = this.#members.filter(({ isPresent }) => isPresent);
    return {
      tabs: present.map(({ donor }) => ({ donor, held: this.#plan!.held.get(donor.donorToken) ?? [] })),
      loaded: this.#loaded,
      joins: this.#joins,
      leaves: this.#leaves,
      slowestPlanMs: this.#slowestPlanMs,
    };
  }

  /** As if they had been here before: what one who is here now, and lends as much, was given. */
  #giveReturningTheirWeights(): void {
    const { rng } = this.#options;
    const present = this.#members.filter(({ isPresent }) => isPresent);
    for (const member of this.#members) {
      if (member.isPresent || rng() >= RETURNING_SHARE) continue;
      const likes = present.filter(({ donor }) => donor.pledgeBytes === member.donor.pledgeBytes);
      const like = likes[Math.floor(rng() * likes.length)];
      if (like) member.kept = new Set(like.kept);
    }
  }

  #comeAndGo(nowMs: number): void {
    const { rng } = this.#options;
    for (let next = this.#events.takeUntil(nowMs); next; next = this.#events.takeUntil(nowMs)) {
      const { event: member, atMs } = next;
      member.isPresent = !member.isPresent;
      if (member.isPresent) this.#joins++;
      else this.#leaves++;
      this.#events.schedule(atMs + (member.isPresent ? drawVisitMs(rng) : drawAbsenceMs(rng)), member);
    }
  }

  #replan(nowMs: number): void {
    const present = this.#members.filter(({ isPresent }) => isPresent);
    const before = this.#plan?.held;
    // A tab that has just come holds what its browser has kept, as its greeting says.
    const held = new Map(
      present.map(({ donor: { donorToken }, kept }) => [donorToken, before?.get(donorToken) ?? [...kept].toReversed()]),
    );
    const startedMs = performance.now();
    const plan = planPlacement(
      this.#placement,
      present.map(({ donor }) => placementPeerOf(donor)),
      {
        replicas: this.#options.replicas,
        ...(this.#plan && {
          previous: { epoch: this.#plan.epoch, held },
          maxMoveBytes: this.#allowance.at(nowMs),
        }),
      },
    );
    if (this.#plan) this.#slowestPlanMs = Math.max(this.#slowestPlanMs, performance.now() - startedMs);
    this.#allowance.spend(plan.movedBytes);
    this.#count(present, plan, before);
    this.#plan = plan;
  }

  #count(present: readonly Member[], plan: PlacementPlan, before: PlacementPlan['held'] | undefined): void {
    const { shardBytes } = this.#placement;
    const served = new Set(present.flatMap(({ donor }) => [...(before?.get(donor.donorToken) ?? [])]));
    for (const { donor, kept } of present) {
      const loaded = new Set(before?.get(donor.donorToken));
      for (const expert of plan.held.get(donor.donorToken)!) {
        if (loaded.has(expert)) continue;
        if (kept.has(expert)) this.#loaded.fromCache += shardBytes;
        else if (served.has(expert)) this.#loaded.heldElsewhere += shardBytes;
        else this.#loaded.heldNowhere += shardBytes;
        kept.delete(expert);
        kept.add(expert);
      }
      const most = Math.floor((KEPT_PLEDGES * donor.pledgeBytes) / shardBytes);
      for (const oldest of kept) {
        if (kept.size <= most) break;
        kept.delete(oldest);
      }
    }
  }
}
