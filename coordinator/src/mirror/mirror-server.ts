import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { once } from 'node:events';
import { addressKey, clientAddress } from '../base/address.ts';
import { NetworkBuckets } from '../base/token-bucket.ts';
import type { DiskCache } from './disk-cache.ts';
import { UpstreamError } from './flight.ts';
import type { ShardMirror } from './shard-mirror.ts';

const SHARD_PATH = /^\/shards\/([0-9a-f]{64})$/;
/** A tab fetches four at a time, and a household has few tabs. */
const MAX_REQUESTS_PER_ADDRESS = 64;
const MAX_CONNECTIONS = 2_000;
/** Requests that are not answered from the disk. */
const MISSES_PER_MINUTE = 3_000;
const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
/** How long a client may leave a full buffer unread. */
const STALLED_READER_MS = 30_000;
const HEADERS_TIMEOUT_MS = 10_000;
/** Time for answers under way after Ctrl-C. */
const CLOSE_TIMEOUT_MS = 5_000;

export interface MirrorServerOptions {
  mirror: ShardMirror;
  cache: DiskCache;
  /** What an address may be sent in an hour; undefined: any amount. */
  bytesPerHour: number | undefined;
  trustProxy: boolean;
  tls: { cert: Buffer; key: Buffer } | undefined;
}

/** The HTTP side of a mirror: `/shards/SHA-256` for pages of any origin, and `/healthz`. */
export class MirrorServer {
  readonly #options: MirrorServerOptions;
  readonly #server: Server;
  readonly #requests = new Map<string, number>();
  readonly #misses = new NetworkBuckets(MISSES_PER_MINUTE, MINUTE_MS);
  readonly #bytes: NetworkBuckets | undefined;

  constructor(options: MirrorServerOptions) {
    this.#options = options;
    this.#bytes = options.bytesPerHour === undefined ? undefined : new NetworkBuckets(options.bytesPerHour, HOUR_MS);
    const handle = (request: IncomingMessage, response: ServerResponse): void => void this.#handle(request, response);
    const limits = { headersTimeout: HEADERS_TIMEOUT_MS, requestTimeout: HEADERS_TIMEOUT_MS };
    this.#server = options.tls ? createTlsServer({ ...options.tls, ...limits }, handle) : createServer(limits, handle);
    this.#server.maxConnections = MAX_CONNECTIONS;
  }

  /** Resolves with the port. */
  async listen(host: string, port: number): Promise<number> {
    this.#server.listen(port, host);
    await once(this.#server, 'listening');
    return (this.#server.address() as { port: number }).port;
  }

  /** Lets answers under way end, within a few seconds. */
  async close(): Promise<void> {
    const timer = setTimeout(() => this.#server.closeAllConnections(), CLOSE_TIMEOUT_MS);
    this.#server.closeIdleConnections();
    await new Promise((resolve) => this.#server.close(resolve));
    clearTimeout(timer);
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const address = clientAddress(request, this.#options.trustProxy);
    const key = addressKey(address);
    const underWay = this.#requests.get(key) ?? 0;
    if (underWay >= MAX_REQUESTS_PER_ADDRESS) return refuse(response, 429, 'Too many requests at a time', 1);
    this.#requests.set(key, underWay + 1);
    try {
      await this.#answer(request, response, address);
    } catch (error) {
      fail(response, error);
    } finally {
      const left = this.#requests.get(key)! - 1;
      if (left === 0) this.#requests.delete(key);
      else this.#requests.set(key, left);
    }
  }

  async #answer(request: IncomingMessage, response: ServerResponse, address: string): Promise<void> {
    const { method = '', url = '' } = request;
    response.setHeader('access-control-allow-origin', '*');
    response.setHeader('cross-origin-resource-policy', 'cross-origin');
    response.setHeader('x-content-type-options', 'nosniff');
    if (method === 'OPTIONS') return preflight(request, response);
    if (method !== 'GET' && method !== 'HEAD') return refuse(response, 405, 'GET, HEAD and OPTIONS are allowed');
    const path = url.replace(/\?.*$/s, '');
    if (path === '/healthz') return this.#health(response);
    const sha256 = SHARD_PATH.exec(path)?.[1];
    if (sha256 === undefined) return refuse(response, 404, 'This is a mirror of shards: /shards/SHA-256 and /healthz');
    if (request.headers['if-none-match']?.includes(`"${sha256}"`)) return void response.writeHead(304).end();
    if (!this.#options.mirror.has(sha256)) {
      const waitMs = this.#misses.take(address);
      if (waitMs > 0) return refuse(response, 429, 'Your network address asks for too much', waitMs / 1000);
    }
    await this.#send(request, response, sha256, address);
  }

  async #send(request: IncomingMessage, response: ServerResponse, sha256: string, address: string): Promise<void> {
    const { mirror } = this.#options;
    const shard = await mirror.serve(sha256);
    const asked = Number(/^bytes=(\d{1,15})-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
    const from = asked < shard.bytes ? asked : 0;
    const waitMs = this.#bytes?.take(address, shard.bytes - from) ?? 0;
    if (waitMs > 0) return refuse(response, 429, 'Your network address has used its allowance', waitMs / 1000);
    response.writeHead(from > 0 ? 206 : 200, {
      'content-type': 'application/octet-stream',
      'content-length': shard.bytes - from,
      'accept-ranges': 'bytes',
      'cache-control': 'public, max-age=31536000, immutable',
      etag: `"${sha256}"`,
      ...(from > 0 && { 'content-range': `bytes ${from}-${shard.bytes - 1}/${shard.bytes}` }),
    });
    if (request.method === 'HEAD') return void response.end();
    for await (const chunk of shard.read(from)) {
      if (response.destroyed) return;
      mirror.figures.servedBytes += chunk.byteLength;
      if (!response.write(chunk)) await drained(response);
    }
    response.end();
  }

  #health(response: ServerResponse): void {
    const { cache, mirror } = this.#options;
    const body = { status: 'ok', shards: cache.shards, bytes: cache.bytes, ...mirror.figures };
    response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' });
    response.end(`${JSON.stringify(body)}\n`);
  }
}

/** Resolves when the client has read on or is gone; one that does not is cut off. */
function drained(response: ServerResponse): Promise<void> {
  if (response.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(() => response.destroy(), STALLED_READER_MS);
    const done = (): void => {
      clearTimeout(timer);
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    response.once('drain', done);
    response.once('close', done);
  });
}

function preflight(request: IncomingMessage, response: ServerResponse): void {
  response.writeHead(204, {
    'access-control-allow-methods': 'GET, HEAD',
    'access-control-allow-headers': 'range, if-none-match',
    'access-control-max-age': '86400',
    // Asked for by Chrome before a public page fetches from a private address.
    ...(request.headers['access-control-request-private-network'] && {
      'access-control-allow-private-network': 'true',
    }),
  });
  response.end();
}

function refuse(response: ServerResponse, status: number, message: string, retryAfterS?: number): void {
  response.writeHead(status, {
    'content-type': 'text/plain; charset=utf-8',
    'cache-control': 'no-store',
    ...(status === 405 && { allow: 'GET, HEAD, OPTIONS' }),
    ...(retryAfterS !== undefined && { 'retry-after': String(Math.max(1, Math.ceil(retryAfterS))) }),
  });
  response.end(`${message}\n`);
}

/** An answer that has begun is broken off: its client must not take it for whole. */
function fail(response: ServerResponse, error: unknown): void {
  if (response.headersSent) return void response.destroy();
  const { status, message, retryAfterS } =
    error instanceof UpstreamError ? error : new UpstreamError(502, 'The shard could not be read');
  refuse(response, status, message, retryAfterS);
}
