import type { ExpertIndex, PlacementModel } from '@shoal/placement';
import { keptName } from '@shoal/protocol';
import type { Clock } from '../base/clock.ts';
import type { PeerSession } from './peer-session.ts';

export interface ReturningDonorsOptions {
  model: PlacementModel;
  /** SHA-256 of the expert's shard. */
  shardHash: (layer: number, expert: number) => string;
  clock: Clock;
  returnDelayMs: number;
  /** Nobody else is waited for. */
  onOver: () => void;
}

/**
 * Tabs come back by themselves after a restart of the coordinator, which knows nothing of them, at times of their own within
 * seconds. What they have kept they say; until all may be back, nobody is to download what another one brings.
 */
export class ReturningDonors {
  readonly #options: ReturningDonorsOptions;
  /** By name (keptName), made when the first tab asks for it. */
  #indices: ReadonlyMap<string, ExpertIndex> | undefined;
  #anyoneCame = false;
  /** Whether others may still be on their way. */
  expected = false;

  constructor(options: ReturningDonorsOptions) {
    this.#options = options;
  }

  /** The experts that a tab has kept, the latest first; undefined if it says nothing of this model's. */
  held(peer: PeerSession): readonly ExpertIndex[] | undefined {
    const { kept } = peer.hello;
    if (kept === undefined) return undefined;
    this.#indices ??= this.#named();
    const experts = new Set(kept.map((name) => this.#indices!.get(name)).filter((expert) => expert !== undefined));
    return experts.size === 0 ? undefined : [...experts].toReversed();
  }

  /** Only the first tab of a coordinator's life decides: a swarm that works is never held up. */
  arrived(peer: PeerSession): void {
    if (this.#anyoneCame) return;
    this.#anyoneCame = true;
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
