import type { IncomingMessage } from 'node:http';
import type { Server } from 'socket.io';
import type { Access } from './access.ts';
import { addressKey } from '../base/address.ts';
import { type Clock, KeyedBuckets } from './token-bucket.ts';

const MINUTE_MS = 60_000;
/** Beside one for each tab: consoles, and sockets of visits that have just ended. */
const SPARE_SOCKETS = 64;
/** A join opens one connection, and a second by polling where websockets are blocked. */
const HANDSHAKES_PER_JOIN = 2;
/** Beside those of joins: consoles that reconnect. */
const SPARE_HANDSHAKES = 64;

/** The part of engine.io that is used; it has the request of a connection, which socket.io's types hide. */
interface EngineConnection {
  request: IncomingMessage;
  once(event: 'close', listener: () => void): unknown;
}

/**
 * The cap on one address's socket.io connections, of all namespaces together, and on how fast it opens them. Decided
 * before a session exists: who is over gets 403, and costs no more than the request's headers.
 */
export class SocketGuard {
  readonly #access: Access;
  readonly #handshakes: KeyedBuckets;
  readonly #open = new Map<string, number>();

  constructor(access: Access, clock?: Clock) {
    this.#access = access;
    this.#handshakes = new KeyedBuckets(this.#handshakesPerMinute(), MINUTE_MS, clock && { clock });
  }

  /** socket.io's `allowRequest`: asked once for each new session. */
  readonly allowRequest = (
    request: IncomingMessage,
    answer: (error: string | null | undefined, success: boolean) => void,
  ): void => {
    const refusal = this.refusal(this.#access.addressOf(request));
    if (refusal !== undefined) this.#access.refusals.connection++;
    answer(refusal, refusal === undefined);
  };

  /** Counts the connections of a server, from their opening to their end. */
  watch(server: Pick<Server, 'engine'>): void {
    server.engine.on('connection', (connection: EngineConnection) => {
      const key = addressKey(this.#access.addressOf(connection.request));
      this.#open.set(key, (this.#open.get(key) ?? 0) + 1);
      connection.once('close', () => {
        const left = this.#open.get(key)! - 1;
        if (left > 0) this.#open.set(key, left);
        else this.#open.delete(key);
      });
    });
  }

  /** Why a further connection of this address is refused; undefined if it is not. */
  refusal(address: string): string | undefined {
    const key = addressKey(address);
    this.#handshakes.setCapacity(this.#handshakesPerMinute());
    if (this.#handshakes.of(key).take() > 0) return 'Too many connections within a minute from this address.';
    const most = this.#access.policy.limits.peersPerAddress + SPARE_SOCKETS;
    if ((this.#open.get(key) ?? 0) >= most) return 'Too many connections at a time from this address.';
    return undefined;
  }

  #handshakesPerMinute(): number {
    return this.#access.policy.limits.joinsPerMinutePerAddress * HANDSHAKES_PER_JOIN + SPARE_HANDSHAKES;
  }
}
