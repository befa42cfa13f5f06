import type { PeerSession } from '../swarm/peer-session.ts';
import type { Swarm } from '../swarm/swarm.ts';

/** How far this machine's clock is from those of the tabs that are there, as they said when they joined. */
export class TabClocks {
  readonly #offsetsMs = new Map<PeerSession, number>();
  readonly #stop: () => void;

  constructor({ visits }: Pick<Swarm, 'visits'>) {
    const joined = (peer: PeerSession): void => {
      const { clockMs } = peer.hello;
      if (clockMs !== undefined) this.#offsetsMs.set(peer, Date.now() - clockMs);
    };
    const left = (peer: PeerSession): unknown => this.#offsetsMs.delete(peer);
    visits.on('joined', joined).on('left', left);
    this.#stop = () => visits.off('joined', joined).off('left', left);
  }

  /** This machine's clock less each tab's, in milliseconds. */
  get offsetsMs(): number[] {
    return [...this.#offsetsMs.values()];
  }

  close(): void {
    this.#stop();
  }
}
