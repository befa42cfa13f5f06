import { createHash } from 'node:crypto';
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runMirror } from '../cli/mirror.ts';
import { DiskCache } from './disk-cache.ts';
import { MirrorServer } from './mirror-server.ts';
import { ShardMirror } from './shard-mirror.ts';

const SHARD_BYTES = 200_000;
const shards = [0, 1, 2, 3].map((seed) =>
  Buffer.from(Array.from({ length: SHARD_BYTES }, (_, i) => (i * 7 + seed) % 251)),
);
const names = shards.map((bytes) => createHash('sha256').update(bytes).digest('hex'));
const contents = new Map(names.map((name, i) => [name, shards[i]!]));

let folder: string;
let upstream: Server;
let upstreamUrl: string;
/** Paths and ranges that upstream was asked for. */
let asked: string[];
let answer: ((name: string, request: IncomingMessage, response: ServerResponse) => void) | undefined;
let cache: DiskCache;
let mirror: ShardMirror;
let server: MirrorServer;
let url: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shoal-mirror-'));
  asked = [];
  answer = undefined;
  upstream = createServer((request, response) => {
    const name = request.url!.split('/').at(-1)!;
    asked.push(`${names.indexOf(name)}${request.headers.range ? ` ${request.headers.range}` : ''}`);
    if (answer) return answer(name, request, response);
    send(name, request, response);
  });
  await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve));
  upstreamUrl = `http://127.0.0.1:${(upstream.address() as AddressInfo).port}`;
  await start();
});
afterEach(async () => {
  await server.close();
  await mirror.close();
  upstream.closeAllConnections();
  await new Promise((resolve) => upstream.close(resolve));
  await rm(folder, { recursive: true, force: true });
});

async function start(limitBytes = 10 * SHARD_BYTES, bytesPerHour?: number): Promise<void> {
  cache = await DiskCache.open(join(folder, 'cache'), limitBytes);
  mirror = new ShardMirror({
    cache,
    urlOf: (sha256) => `${upstreamUrl}/shards/${sha256}`,
    fetch,
    stallMs: 300,
    attempts: 2,
    firstRetryMs: 1,
  });
  server = new MirrorServer({ mirror, cache, bytesPerHour, trustProxy: true, tls: undefined });
  url = `http://127.0.0.1:${await server.listen('127.0.0.1', 0)}`;
}

async function restart(limitBytes?: number, bytesPerHour?: number): Promise<void> {
  await server.close();
  await mirror.close();
  await start(limitBytes, bytesPerHour);
}

function send(name: string, request: IncomingMessage, response: ServerResponse): void {
  const bytes = contents.get(name);
  if (!bytes) return void response.writeHead(404).end();
  const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
  const range = { 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` };
  response.writeHead(from > 0 ? 206 : 200, { 'content-length': bytes.length - from, ...(from > 0 && range) });
  response.end(bytes.subarray(from));
}

const get = (i: number, headers: Record<string, string> = {}) => fetch(`${url}/shards/${names[i]}`, { headers });
const body = async (response: Response): Promise<Buffer> => Buffer.from(await response.arrayBuffer());
const kept = async (): Promise<number[]> => {
  await cache.settled();
  return (await readdir(join(folder, 'cache'))).map((name) => names.indexOf(name)).toSorted();
};

describe('a mirror', () => {
  it('fetches a shard once, keeps it over a restart, and lets pages of any origin have it', async () => {
    const first = await get(0);
    expect(Object.fromEntries(first.headers)).toMatchObject({
      'access-control-allow-origin': '*',
      'cache-control': 'public, max-age=31536000, immutable',
      'content-length': String(SHARD_BYTES),
      etag: `"${names[0]}"`,
    });
    expect((await body(first)).equals(shards[0]!)).toBe(true);
    await cache.settled();
    expect((await body(await get(0))).equals(shards[0]!)).toBe(true);
    await restart();
    expect((await body(await get(0))).equals(shards[0]!)).toBe(true);
    expect((await body(await get(0, { range: 'bytes=199990-' }))).equals(shards[0]!.subarray(199_990))).toBe(true);
    expect((await get(0, { 'if-none-match': `"${names[0]}"` })).status).toBe(304);
    expect(asked).toEqual(['0']);
    const health = (await (await fetch(`${url}/healthz`)).json()) as object;
    expect(health).toMatchObject({ status: 'ok', shards: 1, bytes: SHARD_BYTES, hits: 2, misses: 0 });
    const preflight = await fetch(`${url}/shards/${names[0]}`, {
      method: 'OPTIONS',
      headers: { 'access-control-request-private-network': 'true' },
    });
    expect(preflight.headers.get('access-control-allow-private-network')).toBe('true');
    for (const path of ['/', '/shards/x', `/shards/${names[0]!.toUpperCase()}`, '/shards/../../etc/passwd']) {
      expect((await fetch(url + path)).status).toBe(404);
    }
    expect((await fetch(`${url}/healthz`, { method: 'POST' })).status).toBe(405);
  });

  it('asks upstream once for 100 requests at the same time', async () => {
    let release!: () => void;
    const held = new Promise<void>((resolve) => (release = resolve));
    answer = (name, request, response) => void held.then(() => send(name, request, response));
    // Of many addresses, since one may not have so many under way.
    const all = Array.from({ length: 100 }, (_, i) => get(1, { 'x-forwarded-for': `192.0.2.${i}` }));
    await expect.poll(() => mirror.figures.misses).toBe(100);
    release();
    const bodies = await Promise.all(all.map(async (one) => body(await one)));
    expect(bodies.every((bytes) => bytes.equals(shards[1]!))).toBe(true);
    expect(asked).toEqual(['1']);
  });

  it('passes on what it receives before it has all of it', async () => {
    let end!: () => void;
    answer = (name, _, response) => {
      response.writeHead(200, { 'content-length': SHARD_BYTES });
      response.write(shards[2]!.subarray(0, 100_000));
      end = () => response.end(contents.get(name)!.subarray(100_000));
    };
    const reader = (await get(2)).body!.getReader();
    let received = 0;
    while (received < 100_000) received += (await reader.read()).value!.byteLength;
    end();
    for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) received += chunk.value.byteLength;
    expect(received).toBe(SHARD_BYTES);
  });

  it('never ends an answer of wrong bytes as complete, and keeps none of them', async () => {
    answer = (name, _, response) => {
      const bytes = Buffer.from(contents.get(name)!);
      bytes[5]! ^= 1;
      response.writeHead(200, { 'content-length': bytes.length }).end(bytes);
    };
    await expect(get(0).then(body)).rejects.toThrow();
    expect(await kept()).toEqual([]);
    answer = undefined;
    expect((await body(await get(0))).equals(shards[0]!)).toBe(true);
  });

  it('goes on with the rest after a cut, also where upstream ignores ranges', async () => {
    for (const [i, ignoresRanges] of [false, true].entries()) {
      answer = (name, request, response) => {
        if (request.headers.range) {
          if (ignoresRanges) delete request.headers.range;
          return send(name, request, response);
        }
        response.writeHead(200, { 'content-length': SHARD_BYTES });
        response.write(contents.get(name)!.subarray(0, 120_000), () => response.destroy());
      };
      expect((await body(await get(i))).equals(shards[i]!)).toBe(true);
    }
    expect(asked).toEqual([
      '0',
      expect.stringMatching(/^0 bytes=\d{4,}-$/),
      '1',
      expect.stringMatching(/^1 bytes=\d+-$/),
    ]);
  });

  it('answers 502 to 504 when upstream is down, silent or lacks a shard, and serves what it has', async () => {
    await body(await get(0));
    answer = (_, __, response) => void response.writeHead(500).end();
    expect((await get(1)).status).toBe(504);
    answer = (_, __, response) => void response.writeHead(429, { 'retry-after': '7' }).end();
    const limited = await get(1);
    expect([limited.status, limited.headers.get('retry-after')]).toEqual([503, '7']);
    answer = (_, __, response) => void response.writeHead(200, { 'content-length': 10 }).flushHeaders();
    const silent = get(2).then(body);
    await expect(silent).rejects.toThrow();
    answer = (_, __, response) => void response.writeHead(404).end();
    const before = asked.length;
    expect([(await get(3)).status, (await get(3)).status]).toEqual([404, 404]);
    expect(asked.length).toBe(before + 1);
    upstream.closeAllConnections();
    await new Promise((resolve) => upstream.close(resolve));
    expect((await get(1)).status).toBe(504);
    expect((await body(await get(0))).equals(shards[0]!)).toBe(true);
  });

  it('keeps to its size: the least recently used make room, and a shard that is too large passes through', async () => {
    await restart(2 * SHARD_BYTES + 10);
    for (const i of [0, 1]) await body(await get(i));
    await cache.settled();
    await body(await get(0));
    await body(await get(2));
    expect(await kept()).toEqual([0, 2]);
    await restart(SHARD_BYTES);
    expect(await kept()).toHaveLength(1);
    await restart(SHARD_BYTES - 1);
    expect((await body(await get(3))).equals(shards[3]!)).toBe(true);
    expect(await kept()).toEqual([]);
    expect(mirror.figures.notKept).toBe(1);
  });

  it('serves on when the disk takes nothing', async () => {
    if (process.getuid?.() === 0) await rm(join(folder, 'cache'), { recursive: true });
    else await chmod(join(folder, 'cache'), 0o500);
    expect((await body(await get(0))).equals(shards[0]!)).toBe(true);
    await cache.settled();
    expect(mirror.figures.notKept).toBe(1);
    await chmod(join(folder, 'cache'), 0o700).catch(() => {});
  });

  it('removes a damaged file, without ending its answer as complete', async () => {
    await body(await get(0));
    await cache.settled();
    const path = join(folder, 'cache', names[0]!);
    const bytes = await readFile(path);
    await writeFile(
      path,
      bytes.map((byte, i) => (i === SHARD_BYTES - 1 ? byte ^ 1 : byte)),
    );
    await expect(get(0).then(body)).rejects.toThrow();
    expect((await body(await get(0))).equals(shards[0]!)).toBe(true);
    expect(asked).toEqual(['0', '0']);
  });

  it('limits what an address gets in an hour and has under way', async () => {
    await restart(undefined, 2 * SHARD_BYTES);
    for (const i of [0, 1]) await body(await get(i));
    const refused = await get(2);
    expect([refused.status, Number(refused.headers.get('retry-after')) > 1000]).toEqual([429, true]);
    expect((await get(2, { 'x-forwarded-for': '192.0.2.1' })).status).toBe(200);
    answer = () => {};
    const all = Array.from({ length: 65 }, () =>
      get(3, { 'x-forwarded-for': '192.0.2.2' }).then(({ status }) => status),
    );
    expect(await Promise.race(all)).toBe(429);
    await Promise.allSettled(all);
  });
});

describe('shoal mirror', () => {
  async function run(...argv: string[]) {
    let stdout = '';
    let stderr = '';
    const code = await runMirror(argv, {
      stdout: { write: (text: string) => ((stdout += text), text.startsWith('Mirroring') && void use(text)) },
      stderr: { write: (text: string) => (stderr += text) },
    });
    return { code, stdout, stderr };
  }
  const use = async (text: string): Promise<void> => {
    const port = Number(/:(\d+)\/shards/.exec(text)![1]);
    const response = await fetch(`http://127.0.0.1:${port}/shards/${names[0]}`);
    expect((await body(response)).equals(shards[0]!)).toBe(true);
    // A connection that asks nothing must not hold up the end.
    const idle = connect(port, '127.0.0.1');
    idle.on('error', () => {});
    process.emit('SIGINT');
  };

  it('mirrors a coordinator until Ctrl-C', async () => {
    const cacheDir = join(folder, 'other');
    const { code, stdout } = await run(
      '--from',
      upstreamUrl,
      '--host',
      '127.0.0.1',
      '--port',
      '0',
      '--cache',
      cacheDir,
    );
    expect(code).toBe(0);
    expect(stdout).toMatch(/Stopped\. served 195\.3 KiB .*fetched 1 shards/);
    expect(await readdir(cacheDir)).toEqual([names[0]]);
    expect(process.listenerCount('SIGINT')).toBe(0);
  });

  it('says what is wrong with an option', async () => {
    for (const [argv, message] of [
      [[], '--from'],
      [['--from', 'x'], '--from'],
      [['--from', 's3:eu:https://b.example'], 's3'],
      [['--from', upstreamUrl, '--tls-cert', 'x'], '--tls-key'],
    ] as const) {
      expect(await run(...argv)).toMatchObject({ code: 2, stderr: expect.stringContaining(message) as string });
    }
  });
});
