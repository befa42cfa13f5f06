import type { Guest, Signal } from '@shoal/protocol';
import { type Link, memoryLinkPair, type MemoryWireOptions } from '@shoal/transport';
import type { GuestConnector } from '../guest-link.ts';

/** Links between coordinators and tabs of others in one process. As with WebRTC, one is there when an offer has been answered. */
export class MemoryGuests {
  readonly #ends = new Map<string, Link>();
  readonly #wire: MemoryWireOptions;
  /** Answers to offers that were given. */
  answered = 0;

  constructor(wire: MemoryWireOptions = {}) {
    this.#wire = wire;
  }

  /** For `GuestLinks.connector` of the member. */
  connector(member: string): GuestConnector {
    return {
      lapConnections: 1,
      iceServersFor: () => [],
      connect: ({ peerId }, attempt, onSignal) => {
        const { a, b } = memoryLinkPair(this.#wire);
        let open!: (link: Link) => void;
        const link = new Promise<Link>((resolve) => (open = resolve));
        const signal = (given: Signal): void => {
          if (given.type !== 'offer') return;
          this.answered++;
          this.#ends.set(nameOf(member, peerId, attempt), b);
          onSignal({ type: 'answer', sdp: 'v=0' });
          open(a);
        };
        return { link, signal, close: () => a.close('closed') };
      },
    };
  }

  /** What a tab says when it is told of a guest. */
  offer({ coordinator, attempt }: Guest): Signal {
    return { type: 'offer', sdp: 'v=0', guest: { coordinator, attempt } };
  }

  /** The tab's end of a link, once its offer was answered. */
  linkOf(peerId: string, { type, guest }: Signal): Link | undefined {
    return type === 'answer' && guest ? this.#ends.get(nameOf(guest.coordinator, peerId, guest.attempt)) : undefined;
  }
}

const nameOf = (member: string, peerId: string, attempt: number): string => `${member} ${peerId} ${attempt}`;
