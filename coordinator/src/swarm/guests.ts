import type { Dismissed } from '@shoal/protocol';
import type { Clock } from '../base/clock.ts';
import type { Bus } from '../cluster/cluster.ts';
import type { TabBoard } from '../cluster/tab-board.ts';
import { GuestLinks } from './guest-links.ts';
import { GuestRelay } from './guest-relay.ts';
import type { PeerSession } from './peer-session.ts';
import type { RemotePeer } from './remote-peer.ts';
import type { SwarmOptions } from './swarm-options.ts';

export interface GuestsOptions extends Pick<SwarmOptions, 'model' | 'rowFormat' | 'trust' | 'events'> {
  bus: Bus;
  board: TabBoard;
  clock: Clock;
  peers: () => readonly PeerSession[];
  peer: (peerId: string) => PeerSession | undefined;
  letGo: (peer: PeerSession, farewell: Dismissed) => void;
  /** The donor of a remote tab lied. */
  expelDonor: (donorId: string, farewell: Dismissed) => void;
  /** The link of a remote tab has ended. */
  onEnd: (peer: RemotePeer) => void;
}

const FAILS_ELSEWHERE: Dismissed = {
  code: 'timeout',
  message: 'Too many of its laps for other coordinators failed, were refused, or were not answered in time.',
  retry: true,
};

/** Both sides of tabs that serve several coordinators: this one is a guest of others' tabs, and the home of its own. */
export class Guests {
  readonly links: GuestLinks;
  readonly relay: GuestRelay;

  constructor(options: GuestsOptions) {
    const { peers, events, letGo, expelDonor } = options;
    this.links = new GuestLinks({
      ...options,
      own: () => peers().filter(({ serving }) => serving),
      onLie: expelDonor,
    });
    this.relay = new GuestRelay({
      ...options,
      onEvent: (level, text, { peerId, address }) => events.add({ level, kind: 'peer', text, peerId }, address),
      onUseless: (peer, code, what) => {
        const message = `The tab broke the protocol: ${what}`;
        letGo(peer, code === 'laps' ? FAILS_ELSEWHERE : { code, message, retry: false });
      },
    });
  }

  close(): void {
    this.links.close();
    this.relay.close();
  }
}
