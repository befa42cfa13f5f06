import { ShardError } from './errors.ts';

/** A shard that is wanted, of whoever sends it. */
export interface ShardRequest {
  sha256: string;
  bytes: number;
  signal: AbortSignal;
  onBytes: (bytes: number) => void;
}

/** Provides shards from elsewhere than the coordinator. */
export interface ShardSource {
  readonly origin: 'mirror' | 'tab';
  /** Fetches and verifies a shard, or returns undefined if nobody is to be asked now. Rejects with a ShardError; what failed is left alone. */
  fetch(request: ShardRequest): Promise<Uint8Array> | undefined;
}

export interface HttpFetchOptions {
  fetch: typeof fetch;
  url: string;
  /** For messages. */
  server: string;
  /** `no-store` by default: Cache Storage keeps shards already. */
  cache?: RequestCache;
  /** The fetch is given up when nothing arrives for so long. */
  stallMs: number;
  /** From the start to the last byte; without it, any time will do. */
  inAllMs?: number;
}

/** Fetches a shard by HTTP and verifies it. Rejects with a ShardError, or with what `fetch` or the abort threw. */
export async function fetchShard(request: ShardRequest, options: HttpFetchOptions): Promise<Uint8Array> {
  const { sha256, signal } = request;
  const { stallMs, inAllMs, server } = options;
  const late = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isSlow = false;
  const rearm = () => {
    clearTimeout(timer);
    timer = setTimeout(() => late.abort(), stallMs);
  };
  const giveUp = () => {
    isSlow = true;
    late.abort();
  };
  const slowTimer = inAllMs === undefined ? undefined : setTimeout(giveUp, inAllMs);
  rearm();
  try {
    const response = await options.fetch(options.url, {
      cache: options.cache ?? 'no-store',
      credentials: 'omit',
      signal: AbortSignal.any([signal, late.signal]),
    });
    rearm();
    if (!response.ok) throw httpError(sha256, response, server);
    const bytes = await readBody(request, response, rearm);
    await verify(request, bytes);
    return bytes;
  } catch (error) {
    if (!late.signal.aborted || signal.aborted) throw error;
    const why = isSlow ? `it took longer than ${inAllMs! / 1000} s` : `nothing arrived for ${stallMs / 1000} s`;
    throw new ShardError(isSlow ? 'slow' : 'stalled', `Shard ${short(sha256)}: ${why}`, { cause: error });
  } finally {
    clearTimeout(timer);
    clearTimeout(slowTimer);
  }
}

/** Rejects with a ShardError if the bytes are not the shard. */
export async function verify({ sha256, bytes: wanted }: ShardRequest, bytes: Uint8Array): Promise<void> {
  if (bytes.byteLength !== wanted) throw sizeError(sha256, bytes.byteLength, wanted);
  if ((await sha256Hex(bytes)) === sha256) return;
  throw new ShardError('hash', `Shard ${short(sha256)}: the downloaded contents have a different SHA-256`);
}

/** Never holds more than the shard's size, whatever the server sends. */
async function readBody(request: ShardRequest, response: Response, onChunk: () => void): Promise<Uint8Array> {
  const { sha256, bytes: shardBytes } = request;
  const bytes = new Uint8Array(shardBytes);
  let offset = 0;
  const reader = response.body?.getReader();
  if (!reader) throw sizeError(sha256, 0, shardBytes);
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    onChunk();
    if (offset + value.byteLength > shardBytes) {
      await reader.cancel();
      throw sizeError(sha256, offset + value.byteLength, shardBytes);
    }
    bytes.set(value, offset);
    offset += value.byteLength;
    if (value.byteLength > 0) request.onBytes(value.byteLength);
  }
  if (offset !== shardBytes) throw sizeError(sha256, offset, shardBytes);
  return bytes;
}

export async function sha256Hex(bytes: Uint8Array): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function httpError(sha256: string, response: Response, server: string): ShardError {
  const { status } = response;
  const retryAfterS = Number(response.headers.get('retry-after') ?? Number.NaN);
  return new ShardError('http', `Shard ${short(sha256)}: ${server} answered ${status}`, {
    retryable: status >= 500 || status === 429 || status === 408,
    overLimit: status === 429,
    retryAfterMs: Number.isFinite(retryAfterS) ? retryAfterS * 1000 : undefined,
  });
}

function sizeError(sha256: string, gotBytes: number, wantedBytes: number): ShardError {
  const relation = gotBytes > wantedBytes ? 'at least ' : '';
  return new ShardError('size', `Shard ${short(sha256)} has ${relation}${gotBytes} bytes instead of ${wantedBytes}`);
}

export function short(sha256: string): string {
  return sha256.slice(0, 12);
}
