import { createHash } from 'node:crypto';
import { fstatSync, mkdirSync, mkdtempSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Counter } from 'prom-client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startServer, type TestServer, until } from '../../coordinator/src/http/testing/harness.ts';
import type { Coordinator } from '../../coordinator/src/index.ts';
import { startTinyCoordinator } from './tiny-coordinator.ts';

/** More than a connection's buffers hold, so that answers of files wait to be written. */
const FILE = Buffer.alloc(8 << 20, 1);
const SHA256 = createHash('sha256').update(FILE).digest('hex');
/** `DEFAULT_HTTP_LIMITS.waitingPerConnection`, and the one that is being answered. */
const MAX_PIPELINED = 33;

let server: TestServer;
/** Served as a shard and as a page's script. */
let file: string;

beforeAll(async () => {
  const donor = mkdtempSync(join(tmpdir(), 'shoal-donor-'));
  mkdirSync(join(donor, 'assets'));
  writeFileSync(join(donor, 'index.html'), '<p>donor page</p>');
  file = join(donor, 'assets', 'big.js');
  writeFileSync(file, FILE);
  server = await startServer(
    { script: () => ({ ids: [97, 98], tokenDelayMs: 2 }), slots: 64 },
    { staticRoots: { donor }, shard: (name) => (name === SHA256 ? { path: file, bytes: FILE.length } : undefined) },
  );
});
afterAll(() => server.app.close());

const get = (path: string, head = '') => `GET ${path} HTTP/1.1\r\nhost: shoal\r\n${head}\r\n`;
const generate = (prompt: string) => {
  const body = JSON.stringify({ model: 'fake-model', prompt, echo: true });
  return `POST /v1/completions HTTP/1.1\r\nhost: s\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
};
const last = (request: string) => request.replace('\r\n', '\r\nconnection: close\r\n');

function open(bytes: string, port = server.port): Socket {
  const socket = connect(port, '127.0.0.1', () => socket.write(bytes));
  socket.on('error', () => {});
  return socket;
}

/** All that is received until the server closes the connection, or resets it. */
async function exchange(bytes: string, port?: number): Promise<string> {
  const received: Buffer[] = [];
  const socket = open(bytes, port).on('data', (chunk) => received.push(chunk));
  await new Promise((resolve) => socket.once('close', resolve));
  return Buffer.concat(received).toString();
}

const statusesOf = (answers: string) =>
  [...answers.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status));
/** How often this process has the file open. */
function timesOpen(path: string): number {
  const { ino } = statSync(path);
  return readdirSync('/dev/fd').filter((descriptor) => inodeOf(Number(descriptor)) === ino).length;
}

function inodeOf(descriptor: number): number | undefined {
  try {
    return fstatSync(descriptor).ino;
  } catch {
    return undefined; // Closed since it was listed.
  }
}

const metric = async (name: string) =>
  Number(new RegExp(`^${name} (\\d+)`, 'm').exec(await server.registry.metrics())?.[1]);

describe('pipelined requests', () => {
  it('are answered in order, one at a time', async () => {
    let most = 0;
    const watch = setInterval(() => (most = Math.max(most, server.generation.live)), 1);
    const prompts = Array.from({ length: 8 }, (_, i) => `prompt ${i}`);
    const answers = await exchange(prompts.map((prompt, i) => (i === 7 ? last : String)(generate(prompt))).join(''));
    clearInterval(watch);
    expect([...answers.matchAll(/"text":"(prompt \d)/g)].map(([, text]) => text)).toEqual(prompts);
    expect(most).toBeLessThan(2);
  });

  it.each(['/shards/' + SHA256, '/assets/big.js'])(
    'open one file of %s, and close it with the connection',
    async (path) => {
      await until(() => timesOpen(file) === 0);
      const sockets = Array.from({ length: 6 }, () => open(get(path).repeat(MAX_PIPELINED)).pause());
      await until(() => timesOpen(file) >= sockets.length);
      for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
      expect(timesOpen(file)).toBe(sockets.length);
      for (const socket of sockets) socket.destroy();
      await until(() => timesOpen(file) === 0);
    },
  );

  it('are answered by a file as often as it is asked for', async () => {
    const answers = await exchange(get('/shards/' + SHA256).repeat(2) + last(get('/shards/' + SHA256)));
    expect(statusesOf(answers)).toEqual([200, 200, 200]);
    expect(answers.length).toBeGreaterThan(3 * FILE.length);
  });

  it('end their connection when too many wait, and disturb no other', async () => {
    const before = await metric('shoal_http_pipeline_overflows_total');
    const whole = await exchange(get('/healthz').repeat(MAX_PIPELINED - 1) + last(get('/healthz')));
    expect(statusesOf(whole)).toEqual(Array(MAX_PIPELINED).fill(200));
    expect(await metric('shoal_http_pipeline_overflows_total')).toBe(before);

    const [flood, other] = await Promise.all([exchange(get('/metrics').repeat(1000)), exchange(last(get('/healthz')))]);
    expect(statusesOf(flood).length).toBeLessThan(MAX_PIPELINED);
    expect(statusesOf(other)).toEqual([200]);
    expect(await metric('shoal_http_pipeline_overflows_total')).toBe(before + 1);
  });

  it('end their connection when a long body waits, which would hide that the client leaves', async () => {
    const before = await metric('shoal_http_pipeline_overflows_total');
    const answers = await exchange(generate('a') + generate('b'.repeat(100_000)));
    expect(statusesOf(answers)).toEqual([]);
    await until(() => server.generation.live === 0);
    expect(await metric('shoal_http_pipeline_overflows_total')).toBe(before + 1);
  });

  it('whose client hangs up leave nothing running', async () => {
    const socket = open(generate('a').repeat(5));
    await until(() => server.generation.live > 0);
    socket.destroy();
    await until(() => server.generation.live === 0);
    expect(server.generation.live).toBe(0);
  });
});

describe('many readers of the metrics', () => {
  it('share a rendering', async () => {
    let renders = 0;
    server.registry.registerMetric(
      new Counter({ name: 'test_renders_total', help: '-', registers: [], collect: () => void renders++ }),
    );
    const answers = await Promise.all(Array.from({ length: 200 }, () => exchange(last(get('/metrics')))));
    for (const answer of answers) expect(answer).toMatch(/^HTTP\/1\.1 200 [^]*\nshoal_shard_downloads_total /);
    // Five at once, then five a second: this takes far less than twenty.
    expect(renders).toBeLessThan(100);
  });
});

describe('the Host header', () => {
  it.each([
    ['two', 'Host: shoal\r\nhost: evil'],
    ['the same twice', 'Host: shoal\r\nHost: shoal'],
    ['none', 'x-host: shoal'],
    ['an empty one beside another', 'Host:\r\nHost: shoal'],
    ['an invalid one', 'Host: a, b'],
  ])('refuses %s', async (_, host) => {
    for (const path of ['/healthz', '/v1/models', '/none']) {
      const answer = await exchange(`GET ${path} HTTP/1.1\r\n${host}\r\n\r\n`);
      expect(answer).toMatch(/^HTTP\/1\.1 400 [^]*"code":"invalid_http"/);
    }
    // Behind a good request, whose answer comes whole.
    const answers = await exchange(`${get('/healthz')}GET /healthz HTTP/1.1\r\n${host}\r\n\r\n${get('/healthz')}`);
    expect(statusesOf(answers)).toEqual([200, 400]);
  });

  it('may be empty, as a client sends it that names no host', async () => {
    const answer = await exchange('GET /healthz HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n');
    expect(answer).toMatch(/^HTTP\/1\.1 200 /);
  });
});

describe('a body that is slow to parse', () => {
  const list = (item: string) => `[${Array(Math.floor((1 << 20) / (item.length + 1)) - 100).fill(item)}]`;
  const keys = `{${Array.from({ length: 90_000 }, (_, i) => `"${i.toString(36)}":0`)}}`;
  const chat = (messages: string, more = '') => `{"model":"fake-model","messages":${messages}${more}}`;
  const completion = (prompt: string, more = '') => `{"model":"fake-model","prompt":${prompt}${more}}`;

  it.each([
    ['numbers as messages', '262144 values', chat(list('0'))],
    ['empty messages', '8192 objects and arrays', chat(list('{}'))],
    ['messages with an unknown key', '8192 objects and arrays', chat(list('{"role":"user","content":"a","x":0}'))],
    ['valid messages without end', '8192 objects and arrays', chat(list('{"role":"user","content":"a"}'))],
    ['numbers as parts', '262144 values', chat(`[{"role":"user","content":${list('0')}}]`)],
    [
      'parts with an unknown key',
      '8192 objects and arrays',
      chat(`[{"role":"user","content":${list('{"type":"text","text":"","x":0}')}}]`),
    ],
    ['negative token ids', '262144 values', completion(list('-1'))],
    ['empty prompts of token ids', '8192 objects and arrays', completion(list('[]'))],
    ['prompts that are null', 'expected a string, an array', completion(list('null'))],
    ['stop strings', 'array to have <=32 items', completion('"a"', `,"stop":${list('"a"')}`)],
    ['unknown keys', '16384 keys', completion('"a"', `,${keys.slice(1, -1)}`)],
    ['metadata', '16384 keys', chat('[{"role":"user","content":"a"}]', `,"metadata":${keys}`)],
    ['logit biases', '16384 keys', completion('"a"', `,"logit_bias":${keys}`)],
  ])('is refused with one short sentence: %s', async (_, refusal, body) => {
    const path = body.includes('"messages"') ? '/v1/chat/completions' : '/v1/completions';
    const headers = { 'content-type': 'application/json' };
    const response = await fetch(server.url + path, { method: 'POST', headers, body });
    expect(response.status).toBe(400);
    const text = await response.text();
    expect(JSON.parse(text).error.message).toContain(refusal);
    expect(text.length).toBeLessThan(400);
  });

  it('is no prompt that fills a context of 128 Ki tokens, nor a long conversation', async () => {
    const bodies = [
      completion(`[${Array(131_071).fill('100')}]`, ',"max_tokens":1'),
      chat(`[${Array(2_700).fill('{"role":"user","content":[{"type":"text","text":"a"}]}')}]`, ',"max_tokens":1'),
    ];
    for (const body of bodies) {
      const path = body.includes('"messages"') ? '/v1/chat/completions' : '/v1/completions';
      const response = await fetch(server.url + path, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body,
      });
      // The server of these tests has a shorter context, which is found out last.
      expect(await response.json()).toMatchObject({ error: { code: 'context_length_exceeded' } });
    }
  });
});

describe('with socket.io on the same port', () => {
  let coordinator: Coordinator;
  let port: number;
  beforeAll(async () => {
    coordinator = await startTinyCoordinator();
    port = Number(new URL(coordinator.url).port);
  });
  afterAll(() => coordinator.close());

  const polling = '/socket.io/?EIO=4&transport=polling';
  const upgrade = (path: string, host = 'host: s') =>
    `GET ${path} HTTP/1.1\r\n${host}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n` +
    'sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n';
  const websocket = '/socket.io/?EIO=4&transport=websocket';

  it('holds its requests to the same rules', async () => {
    const answers = await exchange(get(polling) + last(get(polling)), port);
    expect(statusesOf(answers)).toEqual([200, 200]);
    const twoHosts = await exchange(`GET ${polling} HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n`, port);
    expect(twoHosts).toMatch(/^HTTP\/1\.1 400 [^]*"code":"invalid_http"/);
    const flood = await exchange(get(polling).repeat(1000), port);
    expect(statusesOf(flood).length).toBeLessThan(MAX_PIPELINED);
  });

  it('ends a session that sends more than any tab, in packets that no namespace sees', async () => {
    const url = `${coordinator.url}${polling}`;
    const { sid } = JSON.parse((await (await fetch(url)).text()).slice(1));
    const body = `40/console,{"token":${'['.repeat(50_000)}${']'.repeat(50_000)}}`;
    const statuses: number[] = [];
    for (let sent = 0; sent < 20; sent++) {
      const response = await fetch(`${url}&sid=${sid}`, { method: 'POST', body });
      statuses.push(response.status);
      await response.arrayBuffer();
    }
    expect(statuses.slice(0, 4)).toEqual(Array(4).fill(200));
    expect(statuses.at(-1)).toBe(400);
  });

  it('upgrades a connection only with one host, to socket.io, and when no answer is under way', async () => {
    expect(await exchange(upgrade(websocket, 'host: a\r\nhost: b'), port)).toMatch(/^HTTP\/1\.1 400 /);
    const good = open(upgrade(websocket), port);
    const [head] = (await new Promise((resolve) => good.once('data', (chunk) => resolve([chunk.toString()])))) as [
      string,
    ];
    expect(head).toMatch(/^HTTP\/1\.1 101 /);
    good.destroy();

    // The server ends these, or the test waits for ever.
    expect(statusesOf(await exchange(get('/healthz') + upgrade(websocket), port))).not.toContain(101);
    const reused = open(get('/healthz'), port);
    reused.once('data', () => reused.write(upgrade('/healthz')));
    await new Promise((resolve) => reused.once('close', resolve));
  });
});
