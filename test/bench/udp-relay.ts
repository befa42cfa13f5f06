import { createSocket, type Socket } from 'node:dgram';
import type { Signal } from '@shoal/protocol';

interface Address {
  host: string;
  port: number;
}

/**
 * A network between one tab and the coordinator: rewrites their signals so that each connection's packets pass through
 * a relay here, which holds them for half a round trip. Chromium must reveal its addresses (RELAYED_FLAGS).
 */
export class SlowNetwork {
  readonly #roundTripMs: number;
  readonly #relays = new Map<number, Relay>();

  constructor(roundTripMs: number) {
    this.#roundTripMs = roundTripMs;
  }

  /** Rewrites a tab's signal for the coordinator: only one candidate passes, with the relay's address. */
  async fromTab(signal: Signal): Promise<Signal | undefined> {
    if (signal.type !== 'candidate') return withoutCandidates(signal);
    const number = signal.connection ?? 0;
    const address = addressIn(signal.candidate.candidate);
    if (!address || this.#relays.has(number)) return undefined;
    const relay = new Relay(address, this.#roundTripMs / 2);
    this.#relays.set(number, relay);
    return atPort(signal, await relay.portForCoordinator);
  }

  /** Rewrites the coordinator's signal for the tab. The coordinator's candidates come after the tab's own. */
  async fromCoordinator(signal: Signal): Promise<Signal | undefined> {
    if (signal.type !== 'candidate') return withoutCandidates(signal);
    const address = addressIn(signal.candidate.candidate);
    const relay = this.#relays.get(signal.connection ?? 0) ?? (await this.#relayOf(signal.connection ?? 0));
    if (!address || relay.coordinator) return undefined;
    relay.coordinator = address;
    return atPort(signal, await relay.portForTab);
  }

  /** Drops everything on that connection from now on, without notice. */
  cut(number: number): void {
    this.#relays.get(number)?.close();
  }

  close(): void {
    for (const relay of this.#relays.values()) relay.close();
  }

  async #relayOf(number: number): Promise<Relay> {
    const deadlineMs = performance.now() + 10_000;
    while (performance.now() < deadlineMs) {
      const relay = this.#relays.get(number);
      if (relay) return relay;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    throw new Error('The tab has told no IPv4 address within 10 s.');
  }
}

/** Two ports: the tab sees one as the coordinator, and the coordinator sees the other as the tab. */
class Relay {
  coordinator: Address | undefined;
  readonly portForTab: Promise<number>;
  readonly portForCoordinator: Promise<number>;
  readonly #sockets: Socket[] = [];
  #isClosed = false;

  constructor(tab: Address, holdMs: number) {
    const forTab = this.#socket();
    const forCoordinator = this.#socket();
    this.#pass(forTab, forCoordinator, holdMs, () => this.coordinator);
    this.#pass(forCoordinator, forTab, holdMs, () => tab);
    this.portForTab = bound(forTab, tab.host);
    this.portForCoordinator = bound(forCoordinator, tab.host);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const socket of this.#sockets) socket.close();
  }

  #socket(): Socket {
    const socket = createSocket('udp4');
    this.#sockets.push(socket);
    return socket;
  }

  #pass(from: Socket, through: Socket, holdMs: number, to: () => Address | undefined): void {
    const send = (packet: Buffer): void => {
      const address = to();
      if (address && !this.#isClosed) through.send(packet, address.port, address.host);
    };
    // Without a hold, sends at once: a timer's millisecond would be most of a loopback round trip.
    from.on('message', (packet) => (holdMs > 0 ? void setTimeout(send, holdMs, packet) : send(packet)));
  }
}

function bound(socket: Socket, host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.bind(0, host, () => resolve(socket.address().port));
  });
}

type CandidateSignal = Signal & { type: 'candidate' };

function withoutCandidates(signal: Exclude<Signal, CandidateSignal>): Signal {
  return { ...signal, sdp: signal.sdp.replaceAll(/a=(candidate|end-of-candidates).*\r\n/g, '') };
}

const HOST_CANDIDATE = /( udp \d+ )(\d+\.\d+\.\d+\.\d+) (\d+)( typ host)/i;

function addressIn(candidate: string): Address | undefined {
  const parts = HOST_CANDIDATE.exec(candidate);
  return parts ? { host: parts[2]!, port: Number(parts[3]) } : undefined;
}

function atPort(signal: CandidateSignal, port: number): Signal {
  const candidate = signal.candidate.candidate.replace(HOST_CANDIDATE, `$1$2 ${port}$4`);
  return { ...signal, candidate: { ...signal.candidate, candidate } };
}
