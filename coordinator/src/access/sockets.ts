import type { IncomingMessage } from 'node:http';
import { MAX_SIGNALLING_BYTES_PER_SECOND, SIGNALLING_BURST_BYTES } from '@shoal/protocol';
import type { Server } from 'socket.io';
import { networksOf } from '../base/address.ts';
import type { Access } from './access.ts';
import { type Clock, NetworkBuckets, TokenBucket } from '../base/token-bucket.ts';

const MINUTE_MS = 60_000;
/** Beyond one per tab: for consoles, and for the sockets of visits that have just ended. */
const SPARE_SOCKETS = 64;
/** A join opens one connection, and a second for polling where websockets are blocked. */
const HANDSHAKES_PER_JOIN = 2;
/** Beyond those of joins: for consoles that reconnect. */
const SPARE_HANDSHAKES = 64;

const BURST_MS = (1000 * SIGNALLING_BURST_BYTES) / MAX_SIGNALLING_BYTES_PER_SECOND;
/** What a packet costs besides its bytes. */
const PACKET_BYTES = 1024;

/** The part of an engine.io connection that is used; socket.io's types hide its request. */
interface EngineConnection {
  request: IncomingMessage;
  once(event: 'close', listener: () => void): unknown;
  on(event: 'packet', listener: (packet: { data?: string | Buffer }) => void): unknown;
  close(discard: boolean): void;
}

/**
 * Limits the socket.io connections of one address, over all namespaces, how fast it opens them, and what each may send. The
 * first two are decided before a session exists: a refused connection gets 403 and costs no more than parsing its headers.
 */
export class SocketGuard {
  readonly #access: Access;
  readonly #handshakes: NetworkBuckets;
  readonly #open = new Map<string, number>();
  readonly #clock: Clock | undefined;

  constructor(access: Access, clock?: Clock) {
    this.#access = access;
    this.#clock = clock;
    this.#handshakes = new NetworkBuckets(this.#handshakesPerMinute(), MINUTE_MS, clock && { clock });
  }

  /** socket.io's `allowRequest`, called once for each new session. */
  readonly allowRequest = (
    request: IncomingMessage,
    answer: (error: string | null | undefined, success: boolean) => void,
  ): void => {
    const refusal = this.refusal(this.#access.addressOf(request));
    if (refusal !== undefined) this.#access.refusals.connection++;
    answer(refusal, refusal === undefined);
  };

  /** Counts the open connections of a server, and ends those that send too much. */
  watch(server: Pick<Server, 'engine'>): void {
    server.engine.on('connection', (connection: EngineConnection) => {
      this.#limitPackets(connection);
      const networks = networksOf(this.#access.addressOf(connection.request));
      for (const { key } of networks) this.#open.set(key, (this.#open.get(key) ?? 0) + 1);
      connection.once('close', () => {
        for (const { key } of networks) {
          const left = this.#open.get(key)! - 1;
          if (left > 0) this.#open.set(key, left);
          else this.#open.delete(key);
        }
      });
    });
  }

  /** Of all kinds: messages, acknowledgements, connects to namespaces, pings. */
  #limitPackets(connection: EngineConnection): void {
    const allowance = new TokenBucket(SIGNALLING_BURST_BYTES, BURST_MS, this.#clock);
    connection.on('packet', ({ data }) => {
      if (allowance.take(PACKET_BYTES + (data?.length ?? 0)) === 0) return;
      this.#access.refusals.connection++;
      connection.close(true);
    });
  }

  /** Why another connection from this address is refused; undefined if it is allowed. */
  refusal(address: string): string | undefined {
    this.#handshakes.setCapacity(this.#handshakesPerMinute());
    if (this.#handshakes.take(address) > 0) return 'Too many new connections from this address. Wait a minute.';
    const most = this.#access.policy.limits.peersPerAddress + SPARE_SOCKETS;
    const isFull = networksOf(address).some(({ key, share }) => (this.#open.get(key) ?? 0) >= most * share);
    return isFull ? 'Too many open connections from this address. Close some tabs.' : undefined;
  }

  #handshakesPerMinute(): number {
    return this.#access.policy.limits.joinsPerMinutePerAddress * HANDSHAKES_PER_JOIN + SPARE_HANDSHAKES;
  }
}
