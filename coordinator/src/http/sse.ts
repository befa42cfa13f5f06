import type { ServerResponse } from 'node:http';

/** The reader left a full buffer unread for too long, or is gone. */
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
  /** A comment is sent after this much silence. */
  keepAliveMs: number;
  /** The connection is cut when a full buffer stays unread for this long. */
  stallMs: number;
}

/**
 * Server-sent events over a raw response. `send` resolves once the buffer has room again, so what a slow reader holds is
 * bounded by the buffer and one event per concurrent sender.
 */
export class EventStream {
  readonly #raw: ServerResponse;
  readonly #stallMs: number;
  readonly #keepAlive: NodeJS.Timeout;
  /** What all senders wait for while the buffer is full: every choice of a request is one. */
  #draining: Promise<void> | undefined;

  constructor(raw: ServerResponse, options: EventStreamOptions) {
    this.#raw = raw;
    this.#stallMs = options.stallMs;
    raw.writeHead(200, {
      ...options.headers,
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      // Tells nginx not to collect the stream into blocks.
      'x-accel-buffering': 'no',
    });
    raw.flushHeaders();
    this.#keepAlive = setInterval(() => {
      if (!raw.writableNeedDrain && !raw.destroyed) raw.write(': keep-alive\n\n');
    }, options.keepAliveMs);
  }

  async send(data: unknown): Promise<void> {
    if (this.#raw.writableNeedDrain) await this.#drained();
    this.#keepAlive.refresh();
    if (!this.#raw.write(`data: ${JSON.stringify(data)}\n\n`)) await this.#drained();
  }

  /** The end of a whole answer. */
  done(): void {
    this.#close('data: [DONE]\n\n');
  }

  /** The end of a broken one: clients see the error event and no [DONE]. */
  fail(body: unknown): void {
    this.#close(`data: ${JSON.stringify(body)}\n\n`);
  }

  #close(last: string): void {
    clearInterval(this.#keepAlive);
    if (this.#raw.destroyed) return;
    this.#raw.end(last);
    // What the kernel does not take within the stall time is given up.
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
