import type { Signal } from '@shoal/protocol';
import type { Connection, ConnectionEnd } from './connection.ts';

export interface FurtherOptions {
  /** How many there may be. */
  count: number;
  /** A new connection; its signals are to carry `number`. */
  make: (number: number) => Connection;
  /** In the task that made the channel. */
  onChannel: (channel: RTCDataChannel) => void;
  /** From the first signal until it is open. */
  connectTimeoutMs: number;
  /** Once for each that ended by itself, in words. */
  onLost?: ((number: number, why: string) => void) | undefined;
  /** The other side did on one of them what ends a visit. */
  onMisuse: () => void;
}

/**
 * Connections beside the one that a link began with, numbered from 1. Each carries a lap channel more and is done without when it
 * fails, closes or never opens. A number is used once, so that a stranger has no more of them than were granted.
 */
export class FurtherConnections {
  readonly #options: FurtherOptions;
  /** Undefined: over. */
  readonly #connections = new Map<number, Connection | undefined>();
  readonly #timers = new Set<ReturnType<typeof setTimeout>>();
  #closed = false;

  constructor(options: FurtherOptions) {
    this.#options = options;
  }

  openAll(): void {
    for (let number = 1; number <= this.#options.count; number++) this.#open(number);
  }

  /** What the other side signalled; its first one, an offer, opens. Of a connection that is over or was not granted it means nothing. */
  signal(number: number, signal: Signal): void {
    if (signal.type === 'offer') this.#open(number);
    this.#connections.get(number)?.signal(signal);
  }

  /** The link has lost, or closed, this channel. */
  lost(channel: unknown): void {
    for (const connection of this.#connections.values()) if (connection?.lapChannel === channel) connection!.close();
  }

  close(): void {
    this.#closed = true;
    for (const timer of this.#timers) clearTimeout(timer);
    for (const connection of this.#connections.values()) connection?.close();
  }

  #open(number: number): void {
    const { count, make, onChannel } = this.#options;
    if (this.#closed || number < 1 || number > count || this.#connections.has(number)) return;
    let connection: Connection;
    try {
      connection = make(number);
    } catch (error) {
      // WebRTC has no more of them, or no memory: the link has what it has.
      this.#connections.set(number, undefined);
      this.#options.onLost?.(number, (error as Error).message);
      return;
    }
    this.#connections.set(number, connection);
    const cancelDeadline = this.#expectOpen(number, connection);
    connection.onOpen = cancelDeadline;
    connection.onEnd = (end) => {
      cancelDeadline();
      this.#ended(number, end);
    };
    onChannel(connection.lapChannel);
  }

  /** Returns the call that ends the deadline. */
  #expectOpen(number: number, connection: Connection): () => void {
    const { connectTimeoutMs } = this.#options;
    const timer = setTimeout(() => {
      this.#ended(number, { reason: 'failed', error: new Error(`not open within ${connectTimeoutMs} ms`) });
      connection.onEnd = undefined;
      connection.close();
    }, connectTimeoutMs);
    this.#timers.add(timer);
    return () => {
      clearTimeout(timer);
      this.#timers.delete(timer);
    };
  }

  #ended(number: number, { reason, error }: ConnectionEnd): void {
    this.#connections.set(number, undefined);
    if (this.#closed) return;
    this.#options.onLost?.(number, error?.message ?? reason);
    if (reason === 'protocol') this.#options.onMisuse();
  }
}
