import type { Clock, Timer } from '../base/clock.ts';
import type { ClusterPlanning } from './cluster-planning.ts';
import type { PeerSession } from './peer-session.ts';
import type { ReturningDonors } from './returning-donors.ts';
import type { Rollout } from './rollout.ts';

/** From a plan that deferred moves to stay within its byte budget until the next one. */
const DEFERRED_PLAN_MS = 10_000;

export interface PlanningOptions {
  clock: Clock;
  rollout: Rollout;
  returning: ReturningDonors;
  /** Of a coordinator that may be one of several. */
  cluster: ClusterPlanning | undefined;
}

/** When the placement is planned again. In a cluster it is the leader who plans, and the others' calls come to nothing. */
export class Planning {
  readonly #options: PlanningOptions;
  #due: { atMs: number; timer: Timer } | undefined;
  /** What the last tick found (`Rollout.doubt`). */
  #doubt = '';
  #isClosed = false;

  constructor(options: PlanningOptions) {
    this.#options = options;
  }

  /** Plans in `delayMs` at the latest. */
  soon(delayMs: number): void {
    if (this.#isClosed) return;
    const { clock } = this.#options;
    const atMs = clock.now() + delayMs;
    if (this.#due && this.#due.atMs <= atMs) return;
    clock.clear(this.#due?.timer);
    this.#due = { atMs, timer: clock.setTimeout(() => this.#replan(), delayMs) };
  }

  /** A tab has begun to serve: others may give up what it has taken over. */
  advance(): void {
    const { cluster, rollout } = this.#options;
    if (cluster && !cluster.hasPlan) return;
    rollout.advance();
    cluster?.decided(this.#isReplaced);
  }

  /** Whether others serve all that a draining tab serves. In a cluster the leader tells its home. */
  isReplaced(peer: PeerSession): boolean {
    const { cluster } = this.#options;
    return (!cluster || cluster.hasPlan) && this.#isReplaced(peer);
  }

  /** Called once a second. */
  tick(): void {
    const { rollout, cluster } = this.#options;
    cluster?.tick();
    if (cluster && !cluster.plans) return;
    // Takes up the moves that the last plan deferred to stay within its byte budget.
    if (rollout.deferred && !this.#due) this.soon(DEFERRED_PLAN_MS);
    // What a tab has not loaded in time should be loaded by others.
    const { doubt } = rollout;
    if (doubt !== '' && doubt !== this.#doubt) this.soon(0);
    this.#doubt = doubt;
  }

  close(): void {
    this.#isClosed = true;
    this.#options.clock.clear(this.#due?.timer);
    this.#due = undefined;
    this.#options.cluster?.close();
  }

  readonly #isReplaced = (tab: Parameters<Rollout['replaceable']>[0]): boolean =>
    !this.#due && this.#options.rollout.replaceable(tab);

  #replan(): void {
    const { cluster, rollout, returning } = this.#options;
    this.#due = undefined;
    if (cluster && !cluster.plans) return;
    rollout.replan(() => !returning.expected);
    cluster?.decided(this.#isReplaced, true);
  }
}
