import type { Signal } from '@shoal/protocol';
import type { Connection, ConnectionEnd } from './connection.ts';
import { startDeadline } from './deadline.ts';

export interface FurtherOptions {
  /** How many may be opened. */
  count: number;
  connect: (onSignal: (signal: Signal) => void) => Connection;
  /** Receives the connections' signals, each with the connection's number. */
  onSignal: (signal: Signal) => void;
  /** Called in the task that made the channel. */
  onChannel: (channel: RTCDataChannel) => void;
  /** From the first signal until the channel is open. */
  connectTimeoutMs: number;
  /** Called once for each connection that ended by itself, with the reason as text. */
  onLost?: ((number: number, why: string) => void) | undefined;
  /** The other side violated the protocol on one of the connections, which ends the visit. */
  onMisuse: () => void;
}

/**
 * Connections beside a link's first one, numbered from 1. Each adds a lap channel, and the link goes on without it if it fails,
 * closes or never opens. A number is used only once, so that a stranger cannot open more than were granted.
 */
export class FurtherConnections {
  readonly #options: FurtherOptions;
  /** Undefined once a connection is over. */
  readonly #connections = new Map<number, Connection | undefined>();
  /** Each cancels a connection's deadline. */
  readonly #deadlines = new Set<() => void>();
  #closed = false;

  constructor(options: FurtherOptions) {
    this.#options = options;
  }

  openAll(): void {
    for (let number = 1; number <= this.#options.count; number++) this.#open(number);
  }

  /** Passes on a signal of the other side, whose first one, an offer, opens the connection. Ignores unknown and ended ones. */
  signal(number: number, signal: Signal): void {
    if (signal.type === 'offer') this.#open(number);
    this.#connections.get(number)?.signal(signal);
  }

  /** Closes the connection of a channel that the link has lost or closed. */
  lost(channel: unknown): void {
    for (const connection of this.#connections.values()) if (connection?.lapChannel === channel) connection!.close();
  }

  close(): void {
    this.#closed = true;
    for (const cancel of this.#deadlines) cancel();
    for (const connection of this.#connections.values()) connection?.close();
  }

  #open(number: number): void {
    const { count, connect, onSignal, onChannel } = this.#options;
    if (this.#closed || number < 1 || number > count || this.#connections.has(number)) return;
    let connection: Connection;
    try {
      connection = connect((signal) => onSignal({ ...signal, connection: number }));
    } catch (error) {
      // WebRTC is out of connections or memory; the link makes do with those that it has.
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

  /** Starts the deadline for opening; returns the function that cancels it. */
  #expectOpen(number: number, connection: Connection): () => void {
    const { connectTimeoutMs } = this.#options;
    const cancel = startDeadline(() => {
      this.#ended(number, { reason: 'failed', error: new Error(`not open within ${connectTimeoutMs} ms`) });
      connection.onEnd = undefined;
      connection.close();
    }, connectTimeoutMs);
    this.#deadlines.add(cancel);
    return () => {
      cancel();
      this.#deadlines.delete(cancel);
    };
  }

  #ended(number: number, { reason, error }: ConnectionEnd): void {
    this.#connections.set(number, undefined);
    if (this.#closed) return;
    this.#options.onLost?.(number, error?.message ?? reason);
    if (reason === 'protocol') this.#options.onMisuse();
  }
}
