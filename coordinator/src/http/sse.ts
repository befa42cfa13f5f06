import type { ServerResponse } from 'node:http';
import type { ServerEvent } from './shapes/shape.ts';

/** The reader left a full buffer unread for too long, or closed the connection. */
export class ReaderGoneError extends Error {
  readonly reason: 'stalled' | 'closed';
  constructor(reason: 'stalled' | 'closed') {
    super(`event stream ${reason}`);
    this.name = 'ReaderGoneError';
    this.reason = reason;
  }
}

export interface EventStreamOptions {
  headers: Record<string, number | string | string[] | undefined>;
  /** Silence after which a comment is sent. */
  keepAliveMs: number;
  /** How long a full buffer may stay unread before the connection is ended. */
  stallMs: number;
}

/**
 * Server-sent events over a raw response. `send` resolves once the buffer has room again, so a slow reader holds at most the
 * buffer and one event per concurrent sender.
 */
export class EventStream {
  readonly #raw: ServerResponse;
  readonly #stallMs: number;
  readonly #keepAlive: NodeJS.Timeout;
  /** What all senders, one per choice, wait for while the buffer is full. */
  #draining: Promise<void> | undefined;

  constructor(raw: ServerResponse, options: EventStreamOptions) {
    this.#raw = raw;
    this.#stallMs = options.stallMs;
    raw.writeHead(200, {
      ...options.headers,
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      // Keeps nginx from buffering the stream.
      'x-accel-buffering': 'no',
    });
    raw.flushHeaders();
    this.#keepAlive = setInterval(() => {
      if (!raw.writableNeedDrain && !raw.destroyed) raw.write(': keep-alive\n\n');
    }, options.keepAliveMs);
  }

  async send(event: ServerEvent): Promise<void> {
    if (this.#raw.writableNeedDrain) await this.#drained();
    this.#keepAlive.refresh();
    if (!this.#raw.write(encode(event))) await this.#drained();
  }

  /** Ends the answer, complete or not; `last` are events that have not been sent. */
  end(last: readonly ServerEvent[] = []): void {
    clearInterval(this.#keepAlive);
    if (this.#raw.destroyed) return;
    this.#raw.end(last.map(encode).join(''));
    // Data that is not sent within the stall time is dropped.
    this.#raw.setTimeout(this.#stallMs, () => this.#raw.destroy());
  }

  abandon(): void {
    clearInterval(this.#keepAlive);
    this.#raw.destroy();
  }

  #drained(): Promise<void> {
    this.#draining ??= this.#nextDrain().finally(() => (this.#draining = undefined));
    return this.#draining;
  }

  #nextDrain(): Promise<void> {
    const raw = this.#raw;
    if (raw.destroyed) return Promise.reject(new ReaderGoneError('closed'));
    return new Promise((resolve, reject) => {
      const settle = (outcome: () => void) => () => {
        clearTimeout(deadline);
        raw.off('drain', onDrain);
        raw.off('close', onClose);
        outcome();
      };
      const onDrain = settle(resolve);
      const onClose = settle(() => reject(new ReaderGoneError('closed')));
      const deadline = setTimeout(
        settle(() => reject(new ReaderGoneError('stalled'))),
        this.#stallMs,
      );
      raw.on('drain', onDrain);
      raw.on('close', onClose);
    });
  }
}

function encode({ name, data }: ServerEvent): string {
  const text = typeof data === 'string' ? data : JSON.stringify(data);
  return name === undefined ? `data: ${text}\n\n` : `event: ${name}\ndata: ${text}\n\n`;
}
