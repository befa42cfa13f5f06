import type { ExpertIndex, PlacementPlan } from '@shoal/placement';
import type { Clock } from '../base/clock.ts';
import { ClusterPlanning } from './cluster-planning.ts';
import type { PeerSession } from './peer-session.ts';
import { Planning } from './planning.ts';
import { ReturningDonors } from './returning-donors.ts';
import { Rollout } from './rollout.ts';
import type { SwarmOptions, SwarmTimings } from './swarm-options.ts';

export interface SwarmPlacementOptions extends Pick<
  SwarmOptions,
  'model' | 'shardHash' | 'events' | 'replicas' | 'load' | 'planner' | 'cluster'
> {
  clock: Clock;
  timings: SwarmTimings;
  peers: () => readonly PeerSession[];
  /** An assignment was sent; the peer has to report progress from now on. */
  onAssigned: (peer: PeerSession) => void;
  /** A newer visit of the tab is another member's. */
  onReplaced: (peer: PeerSession) => void;
}

/** What each tab is to hold: the plan and the way to it, alone or together with other coordinators. */
export class SwarmPlacement {
  readonly cluster: ClusterPlanning | undefined;
  readonly rollout: Rollout;
  readonly planning: Planning;
  readonly #options: SwarmPlacementOptions;
  readonly #returning: ReturningDonors;

  constructor(options: SwarmPlacementOptions) {
    this.#options = options;
    const { clock, timings, cluster, model } = options;
    this.#returning = new ReturningDonors({
      ...options,
      returnDelayMs: timings.returnDelayMs,
      onOver: () => this.planning.soon(0),
    });
    const heldBefore = (peer: PeerSession): readonly ExpertIndex[] =>
      this.#returning.held(peer) ?? peer.donor.held.get(peer.tab) ?? [];
    const numExperts = model.layers.length * model.expertsPerLayer;
    const shared = cluster && {
      ...options,
      cluster,
      numExperts,
      heldBefore,
      rollout: () => this.rollout,
      planSoon: (delayMs: number) => this.planning.soon(delayMs),
      advance: () => this.planning.advance(),
    };
    this.cluster = shared && new ClusterPlanning(shared);
    this.rollout = new Rollout({
      ...options,
      load: this.cluster?.load ?? options.load,
      heldBefore,
      guided: this.cluster?.guidance,
    });
    this.planning = new Planning({
      clock,
      rollout: this.rollout,
      returning: this.#returning,
      cluster: this.cluster,
    });
    this.cluster?.start();
  }

  get plan(): PlacementPlan {
    return this.cluster?.followed ?? this.rollout.plan;
  }

  /** A tab's lap channel is open. */
  arrived(peer: PeerSession): void {
    this.#returning.arrived(peer);
    this.planning.soon(this.#options.timings.joinDelayMs);
  }
}
