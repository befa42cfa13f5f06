import type { ExpertIndex } from '@shoal/placement';
import { HEARTBEAT_MS } from '@shoal/protocol';
import { MAX_MISSED_HEARTBEATS } from '@shoal/transport';
import { JoinRefused } from '../../coordinator/src/access/join-refused.ts';
import { availability, DISTRIBUTIONS, drawAbsenceMs, drawRestOfVisitMs, drawVisitMs, type SimDonor } from './donors.ts';
import { VirtualTab } from './virtual-tab.ts';
import type { World } from './world.ts';

/** Mean time that the donor page waits before it retries. */
const RETRY_MS = 3_000;

/** Donors who come, stay, leave and return. */
export class Visits {
  joins = 0;
  leaves = 0;
  /** Visits that the coordinator ended. */
  dismissals = 0;
  online = 0;
  readonly #world: World;

  constructor(world: World, donors: readonly SimDonor[]) {
    this.#world = world;
    for (const donor of donors) {
      const cached = new Set<ExpertIndex>();
      if (world.rng() < availability()) this.#visit(donor, cached, drawRestOfVisitMs(world.rng));
      else this.#absent(donor, cached);
    }
  }

  #absent(donor: SimDonor, cached: Set<ExpertIndex>): void {
    const { clock, rng } = this.#world;
    clock.setTimeout(() => this.#visit(donor, cached, drawVisitMs(rng)), drawAbsenceMs(rng));
  }

  #visit(donor: SimDonor, cached: Set<ExpertIndex>, stayMs: number): void {
    const { clock, rng } = this.#world;
    const visit = { untilMs: clock.now() + stayMs, tab: undefined as VirtualTab | undefined };
    this.joins++;
    this.online++;
    this.#knock(donor, cached, visit);
    clock.setTimeout(() => {
      this.leaves++;
      this.online--;
      if (rng() >= DISTRIBUTIONS.silentShare) visit.tab?.leave();
      else if (visit.tab) this.#findOut(visit.tab.vanish());
      this.#absent(donor, cached);
    }, stayMs);
  }

  /** A silent departure is noticed at the latest by the heartbeat after `MAX_MISSED_HEARTBEATS` misses. */
  #findOut(closed: () => void): void {
    this.#world.clock.setTimeout(closed, (MAX_MISSED_HEARTBEATS + this.#world.rng()) * HEARTBEAT_MS);
  }

  #knock(donor: SimDonor, cached: Set<ExpertIndex>, visit: { untilMs: number; tab: VirtualTab | undefined }): void {
    const { clock } = this.#world;
    const again = (): void => {
      clock.setTimeout(() => {
        if (clock.now() < visit.untilMs) this.#knock(donor, cached, visit);
      }, RETRY_MS);
    };
    try {
      visit.tab = new VirtualTab(this.#world, donor, cached);
    } catch (error) {
      if (!(error instanceof JoinRefused)) throw error;
      return again();
    }
    visit.tab.onDismissed = ({ retry }) => {
      visit.tab = undefined;
      this.dismissals++;
      if (retry) again();
    };
  }
}
