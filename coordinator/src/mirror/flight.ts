import { createHash } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';

/** Why a shard can't be had from upstream; `status` is what a client is answered. */
export class UpstreamError extends Error {
  readonly status: 404 | 502 | 503 | 504;
  readonly retryAfterS: number | undefined;

  constructor(status: UpstreamError['status'], message: string, options: ErrorOptions & { retryAfterS?: number } = {}) {
    super(message, options);
    this.name = 'UpstreamError';
    this.status = status;
    this.retryAfterS = options.retryAfterS;
  }
}

export interface FlightOptions {
  sha256: string;
  url: string;
  fetch: typeof fetch;
  signal: AbortSignal;
  /** Nothing may arrive for so long. */
  stallMs: number;
  /** Bytes received so far are asked for no more: later attempts fetch the rest. */
  attempts?: number;
  firstRetryMs?: number;
}

/** V3's experts take 88 MB in f16. */
const MAX_SHARD_BYTES = 256 * 2 ** 20;
/** Kept back until the hash is known, so that no client ends up with a complete answer of wrong bytes. */
const KEPT_BACK_BYTES = 16 * 1024;
const DEFAULT_ATTEMPTS = 5;
const FIRST_RETRY_MS = 250;
/** A shard on its way for longer is given up, however often it goes on. */
const IN_ALL_MS = 600_000;

/** One shard on its way from upstream, which any number of readers may follow from its beginning. */
export class Flight {
  readonly sha256: string;
  /** Resolves with the verified shard; rejects with an UpstreamError. */
  readonly whole: Promise<Buffer>;
  readonly #options: FlightOptions;
  readonly #news = new EventEmitter<{ news: [] }>();
  #buffer: Buffer | undefined;
  #received = 0;
  #verified = false;
  #failure: unknown;

  constructor(options: FlightOptions) {
    this.sha256 = options.sha256;
    this.#options = options;
    this.#news.setMaxListeners(0);
    this.whole = this.#run();
    // Readers are told; nobody else may be waiting.
    this.whole.catch(() => {});
  }

  /** Size of the shard, once upstream has told it. Rejects as `whole` does. */
  async bytes(): Promise<number> {
    while (this.#buffer === undefined) await this.#next();
    return this.#buffer.byteLength;
  }

  /** The shard's bytes from `from` on, as they come. Throws as `whole` does; then what was read is not the shard. */
  async *read(from = 0): AsyncGenerator<Buffer> {
    const total = await this.bytes();
    for (let at = from; at < total;) {
      const end = this.#verified ? total : Math.min(this.#received, total - KEPT_BACK_BYTES);
      if (end <= at) {
        await this.#next();
        continue;
      }
      yield this.#buffer!.subarray(at, end);
      at = end;
    }
    if (!this.#verified) await this.whole;
  }

  async #next(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure as Error;
    if (!this.#verified) await once(this.#news, 'news');
    if (this.#failure !== undefined) throw this.#failure as Error;
  }

  async #run(): Promise<Buffer> {
    try {
      await this.#receiveAll();
      const buffer = this.#buffer!;
      if (createHash('sha256').update(buffer).digest('hex') !== this.sha256) {
        throw new UpstreamError(502, `Upstream sent wrong bytes for ${this.sha256.slice(0, 12)}`);
      }
      this.#verified = true;
      return buffer;
    } catch (error) {
      this.#failure = error;
      throw error;
    } finally {
      this.#news.emit('news');
    }
  }

  async #receiveAll(): Promise<void> {
    const { attempts = DEFAULT_ATTEMPTS, firstRetryMs = FIRST_RETRY_MS, signal } = this.#options;
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(IN_ALL_MS)]);
    for (let attempt = 1; ; attempt++) {
      const before = this.#received;
      try {
        return await this.#receive(deadline);
      } catch (error) {
        if (error instanceof UpstreamError && error.status !== 504) throw error;
        // As long as it gets on, it is worth going on.
        if (this.#received > before) attempt = 1;
        if (attempt >= attempts || deadline.aborted) throw asUpstreamError(error);
        await delay(firstRetryMs * 2 ** (attempt - 1) * (0.5 + Math.random() / 2), undefined, {
          signal: deadline,
        }).catch(() => {});
      }
    }
  }

  /** One request, for the whole shard or for the rest of it. */
  async #receive(signal: AbortSignal): Promise<void> {
    const stalled = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    const rearm = (): void => {
      clearTimeout(timer);
      timer = setTimeout(() => stalled.abort(), this.#options.stallMs);
    };
    rearm();
    try {
      const headers = {
        'accept-encoding': 'identity',
        ...(this.#received > 0 && { range: `bytes=${this.#received}-` }),
      };
      const both = AbortSignal.any([signal, stalled.signal]);
      const response = await this.#options.fetch(this.#options.url, { headers, signal: both });
      rearm();
      let skip = this.#begin(response);
      for await (const chunk of response.body ?? []) {
        rearm();
        const fresh = skip < chunk.byteLength ? chunk.subarray(skip) : undefined;
        skip = Math.max(0, skip - chunk.byteLength);
        if (fresh) this.#append(fresh);
      }
      if (this.#received !== this.#buffer!.byteLength) throw new UpstreamError(504, 'Upstream broke off');
    } catch (error) {
      if (!stalled.signal.aborted) throw error;
      throw new UpstreamError(504, 'Upstream has sent nothing for a while', { cause: error });
    } finally {
      clearTimeout(timer);
    }
  }

  /** Checks the answer's head, and returns how many of its bytes are known already. */
  #begin(response: Response): number {
    const { status, headers } = response;
    if (status !== 200 && status !== 206) {
      void response.body?.cancel();
      throw failedAnswer(response);
    }
    const given = Number(headers.get('content-length') ?? Number.NaN);
    const from = status === 206 ? this.#received : 0;
    const total = given + from;
    if (!Number.isSafeInteger(total) || total <= 0 || total > MAX_SHARD_BYTES) {
      void response.body?.cancel();
      throw new UpstreamError(502, 'Upstream does not say how long the shard is, or it is too long');
    }
    this.#buffer ??= Buffer.allocUnsafeSlow(total);
    if (this.#buffer.byteLength !== total) throw new UpstreamError(502, 'Upstream’s answers differ in length');
    this.#news.emit('news');
    return this.#received - from;
  }

  #append(chunk: Uint8Array): void {
    if (this.#received + chunk.byteLength > this.#buffer!.byteLength)
      throw new UpstreamError(502, 'Upstream sent too much');
    this.#buffer!.set(chunk, this.#received);
    this.#received += chunk.byteLength;
    this.#news.emit('news');
  }
}

function failedAnswer({ status, headers }: Response): UpstreamError {
  const retryAfterS = Number(headers.get('retry-after') ?? Number.NaN);
  const options = Number.isFinite(retryAfterS) ? { retryAfterS } : {};
  if (status === 404 || status === 410) return new UpstreamError(404, 'Upstream has no such shard');
  if (status === 429 || status === 503) return new UpstreamError(503, `Upstream answered ${status}`, options);
  // What may pass by itself is tried again.
  return new UpstreamError(status >= 500 ? 504 : 502, `Upstream answered ${status}`);
}

function asUpstreamError(error: unknown): UpstreamError {
  if (error instanceof UpstreamError) return error;
  return new UpstreamError(504, 'Upstream is out of reach', { cause: error });
}
