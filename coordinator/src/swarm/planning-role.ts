import type { Clock, Timer } from '../base/clock.ts';
import type { Cluster } from '../cluster/cluster.ts';
import type { HomeView } from '../cluster/tab-board.ts';

/** Longer than another member takes to lead after a leader's end, and than the others take to hold a member for dead. */
const LEADERLESS_MS = 5_000;

/**
 * Who plans for this coordinator's tabs. `alone`: it does, and for no others. `leads`: it does, and for all of the cluster.
 * `follows`: the leader. `waits`: nobody for the moment.
 */
export type PlanningRole = 'alone' | 'leads' | 'follows' | 'waits';

export interface RoleOptions {
  cluster: Pick<Cluster, 'members' | 'lease'>;
  clock: Clock;
  /** Others should know whom its tabs follow. */
  onHome: (view: HomeView) => void;
  onChange: (role: PlanningRole) => void;
}

/** Tells who plans, from who is alive and who leads. */
export class Role {
  now: PlanningRole = 'waits';
  /** Counts the changes of who decides about its tabs (HomeView). */
  regime = 0;
  readonly #options: RoleOptions;
  #decides: string | undefined;
  #timer: Timer | undefined;

  readonly #look = (): void => this.look();

  constructor(options: RoleOptions) {
    this.#options = options;
    const { members, lease } = options.cluster;
    lease.events.on('gained', this.#look).on('lost', this.#look).on('leader', this.#look);
    members.events.on('changed', this.#look).on('cut', this.#look).on('mended', this.#look);
  }

  /** The term of the lease while it leads. */
  get term(): number | undefined {
    return this.now === 'leads' ? this.#options.cluster.lease.held?.term : undefined;
  }

  /** Looks again who plans. */
  look(): void {
    const found = this.#find();
    if (found !== 'waits') return this.#enter(found);
    // Whoever plans alone goes on until there is a leader.
    if (this.now === 'alone') return;
    this.#timer ??= this.#options.clock.setTimeout(() => this.#enter('alone'), LEADERLESS_MS);
    this.#timer.unref();
    this.#enter('waits');
  }

  close(): void {
    const { clock, cluster } = this.#options;
    clock.clear(this.#timer);
    const { members, lease } = cluster;
    lease.events.off('gained', this.#look).off('lost', this.#look).off('leader', this.#look);
    members.events.off('changed', this.#look).off('cut', this.#look).off('mended', this.#look);
  }

  #find(): PlanningRole {
    const { members, lease } = this.#options.cluster;
    if (lease.held) return 'leads';
    const others = members.alive().filter(({ id }) => id !== members.self.id);
    if (others.length === 0) return 'alone';
    return !members.isCut && others.some(({ id }) => id === lease.leader) ? 'follows' : 'waits';
  }

  #enter(role: PlanningRole): void {
    const { clock, cluster, onHome, onChange } = this.#options;
    const before = this.now;
    this.now = role;
    if (role !== 'waits') {
      clock.clear(this.#timer);
      this.#timer = undefined;
      const decides = role === 'follows' ? cluster.lease.leader! : `${cluster.members.self.id} ${role}`;
      if (decides !== this.#decides) {
        this.#decides = decides;
        this.regime++;
        onHome({ follows: role === 'follows' ? decides : undefined, regime: this.regime });
      }
    }
    if (before !== role) onChange(role);
  }
}
