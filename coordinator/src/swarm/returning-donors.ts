import type { ExpertIndex, PlacementModel } from '@shoal/placement';
import { keptName } from '@shoal/protocol';
import type { Clock } from '../base/clock.ts';
import type { PeerSession } from './peer-session.ts';
import type { SwarmOptions } from './swarm-options.ts';

export interface ReturningDonorsOptions extends Pick<SwarmOptions, 'shardHash'> {
  model: PlacementModel;
  clock: Clock;
  returnDelayMs: number;
  /** The wait is over. */
  onOver: () => void;
}

/**
 * After a restart of the coordinator, which remembers nothing of its tabs, they rejoin within seconds and say what they have
 * kept. Until all may be back, no tab should download what another one brings.
 */
export class ReturningDonors {
  readonly #options: ReturningDonorsOptions;
  /** By name (keptName); built for the first tab that needs it. */
  #indices: ReadonlyMap<string, ExpertIndex> | undefined;
  #hasArrival = false;
  /** Whether more tabs may be about to return. */
  expected = false;

  constructor(options: ReturningDonorsOptions) {
    this.#options = options;
  }

  /** The experts of this model that a tab has kept, most recent first; undefined if there are none. */
  held(peer: PeerSession): readonly ExpertIndex[] | undefined {
    const { kept } = peer.hello;
    if (kept === undefined) return undefined;
    this.#indices ??= this.#named();
    const experts = new Set(kept.map((name) => this.#indices!.get(name)).filter((expert) => expert !== undefined));
    return experts.size === 0 ? undefined : [...experts].toReversed();
  }

  /** Only the coordinator's first tab decides whether to wait, so that a working swarm is never held up. */
  arrived(peer: PeerSession): void {
    if (this.#hasArrival) return;
    this.#hasArrival = true;
    if (this.held(peer) === undefined) return;
    this.expected = true;
    const { clock, returnDelayMs, onOver } = this.#options;
    const over = (): void => {
      this.expected = false;
      onOver();
    };
    clock.setTimeout(over, returnDelayMs).unref();
  }

  #named(): Map<string, ExpertIndex> {
    const { model, shardHash } = this.#options;
    const indices = new Map<string, ExpertIndex>();
    for (const [i, layer] of model.layers.entries()) {
      for (let expert = 0; expert < model.expertsPerLayer; expert++) {
        indices.set(keptName(shardHash(layer, expert)), i * model.expertsPerLayer + expert);
      }
    }
    return indices;
  }
}
