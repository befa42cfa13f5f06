import { mkdtempSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { GenerationRequest } from '../../coordinator/src/scheduler/generation.ts';
import { startServer, until, type TestServer } from '../../coordinator/src/http/testing/harness.ts';

const HOSTILE_REQUESTS = 200;
const GOOD_STREAMS = 8;
/** How long a client that is due no answer listens before it hangs up. */
const LISTEN_MS = 400;

let server: TestServer;

beforeAll(async () => {
  const donor = mkdtempSync(join(tmpdir(), 'shoal-donor-'));
  writeFileSync(join(donor, 'index.html'), '<p>donor page</p>');
  server = await startServer({ script: answerNaming, slots: 16, queueLimit: 1024 }, { staticRoots: { donor } });
});
afterAll(() => server.app.close());

/** An answer that repeats the request's own marker, so that a mix-up between requests would show. */
function answerNaming(request: GenerationRequest) {
  const prompt = Buffer.from(request.promptIds.slice(1, 200)).toString();
  const marker = /marker-[gh]-\d+-/.exec(prompt)?.[0] ?? 'no marker';
  const words = Array.from({ length: 12 }, (_, i) => `${marker}${(request.seed * 31 + i * 17) % 97} 🦊`);
  return { ids: [...Buffer.from(words.join(' '))], tokenDelayMs: 1 };
}

const good = (index: number) => ({
  model: 'fake-model',
  prompt: `marker-g-${index}- goes on`,
  seed: index,
  max_tokens: 400,
  stream: true,
});

/** The texts of a whole stream; throws where it does not end with [DONE]. */
async function readStream(body: object): Promise<string> {
  const response = await fetch(`${server.url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const events = (await response.text()).split('\n\n').filter((event) => event.startsWith('data: '));
  if (events.pop() !== 'data: [DONE]') throw new Error('the stream broke off');
  return events.map((event) => JSON.parse(event.slice(6)).choices[0].text).join('');
}

interface Attack {
  name: string;
  /** Built when it is sent: some are megabytes. */
  bytes: () => Buffer;
  /** Sent in two parts, the second never complete; or the client leaves early. */
  hangUpAfterBytes?: number;
  /** The status that it must get; undefined where no answer is due. */
  status?: number;
}

function post(body: string | Buffer, head = '', path = '/v1/completions'): Buffer {
  const bytes = Buffer.from(body);
  const type = /content-type/i.test(head) ? '' : 'content-type: application/json\r\n';
  const length = /content-length|transfer-encoding/i.test(head) ? '' : `content-length: ${bytes.length}\r\n`;
  return Buffer.concat([
    Buffer.from(`POST ${path} HTTP/1.1\r\nhost: shoal\r\nconnection: close\r\n${type}${length}${head}\r\n`, 'latin1'),
    bytes,
  ]);
}

const get = (path: string, method = 'GET') =>
  Buffer.from(`${method} ${path} HTTP/1.1\r\nhost: shoal\r\nconnection: close\r\n\r\n`, 'latin1');

function attacks(i: number): Attack[] {
  const prompt = `marker-h-${i}- secret`;
  const body = (extra: object) => JSON.stringify({ model: 'fake-model', prompt, ...extra });
  const raw = (fields: string) => `{"model":"fake-model","prompt":"${prompt}",${fields}}`;
  const chat = (messages: unknown) =>
    post(JSON.stringify({ model: 'fake-model', messages }), '', '/v1/chat/completions');
  return [
    { name: 'bad JSON', bytes: () => post(`{"prompt": "${prompt}"`), status: 400 },
    { name: 'no JSON', bytes: () => post(prompt), status: 400 },
    { name: 'empty body', bytes: () => post(''), status: 400 },
    { name: 'body is null', bytes: () => post('null'), status: 400 },
    { name: 'deep nesting', bytes: () => post('['.repeat(400_000) + ']'.repeat(400_000)), status: 400 },
    {
      name: 'deep nesting in a field',
      bytes: () => post(raw(`"logit_bias":${'{"a":'.repeat(50_000)}1${'}'.repeat(50_000)}`)),
      status: 400,
    },
    { name: 'huge number', bytes: () => post(raw('"max_tokens":1e309')), status: 400 },
    { name: 'long number', bytes: () => post(raw(`"seed":${'9'.repeat(100_000)}`)), status: 400 },
    { name: 'NaN string', bytes: () => post(raw('"temperature":"NaN"')), status: 400 },
    { name: 'NaN literal', bytes: () => post(raw('"temperature":NaN')), status: 400 },
    { name: 'negative', bytes: () => post(raw('"max_tokens":-2')), status: 400 },
    {
      name: 'token beyond the vocabulary',
      bytes: () => post('{"model":"fake-model","prompt":[4294967296]}'),
      status: 400,
    },
    {
      name: 'many prompts',
      bytes: () => post(JSON.stringify({ model: 'fake-model', prompt: Array(90_000).fill('a') })),
      status: 400,
    },
    { name: 'long prompt', bytes: () => post(body({ prompt: prompt + 'a'.repeat(900_000) })), status: 400 },
    { name: 'long stop', bytes: () => post(body({ stop: 'a'.repeat(500_000) })), status: 400 },
    { name: 'long unknown key', bytes: () => post(raw(`"${'k'.repeat(300_000)}":1`)), status: 200 },
    { name: 'prototype key', bytes: () => post(raw('"__proto__":{"stream":true}')), status: 400 },
    { name: 'constructor key', bytes: () => post(raw('"constructor":{"prototype":{"n":8}}')), status: 400 },
    { name: 'nested prototype key', bytes: () => post(raw('"shoal":{"__proto__":{"trace":true}}')), status: 400 },
    { name: 'invalid UTF-8', bytes: () => post(Buffer.from([0x22, 0xff, 0xfe, 0x22])), status: 400 },
    { name: 'null bytes', bytes: () => post(Buffer.alloc(1000)), status: 400 },
    { name: 'model that is a path', bytes: () => post(raw('"model":"../../etc/passwd"')), status: 404 },
    { name: '2 MiB body', bytes: () => post(body({ prompt: prompt + 'a'.repeat(2 << 20) })), status: 413 },
    { name: 'lying length', bytes: () => post('{}', 'content-length: 900000\r\n'), hangUpAfterBytes: 300 },
    { name: 'length too large', bytes: () => post('{}', 'content-length: 99999999999\r\n'), status: 413 },
    { name: 'negative length', bytes: () => post('{}', 'content-length: -5\r\n'), status: 400 },
    {
      name: 'length and chunks',
      bytes: () => post('0\r\n\r\n', 'content-length: 4\r\ntransfer-encoding: chunked\r\n'),
      status: 400,
    },
    {
      name: 'chunk size lies',
      bytes: () => post('5\r\n{"a"\r\nzz\r\n', 'transfer-encoding: chunked\r\n'),
      status: 400,
    },
    {
      name: 'chunk without end',
      bytes: () => post('ffffff\r\n{"a":', 'transfer-encoding: chunked\r\n'),
      hangUpAfterBytes: 200,
    },
    { name: 'wrong type', bytes: () => post(body({}), 'content-type: text/plain\r\n'), status: 415 },
    {
      name: 'multipart',
      bytes: () => post(body({}), 'content-type: multipart/form-data; boundary=x\r\n'),
      status: 415,
    },
    { name: 'header flood', bytes: () => post(body({}), `x-a: ${'b'.repeat(1000)}\r\n`.repeat(100)), status: 431 },
    { name: 'many small headers', bytes: () => post('{}', 'a: b\r\n'.repeat(20_000)), status: 431 },
    { name: 'bad header', bytes: () => Buffer.from('GET / HTTP/1.1\r\nhost shoal\r\n\r\n'), status: 400 },
    { name: 'no host', bytes: () => Buffer.from('GET /v1/models HTTP/1.1\r\nconnection: close\r\n\r\n'), status: 400 },
    { name: 'no HTTP', bytes: () => Buffer.from('\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'), status: 400 },
    {
      name: 'slow headers',
      bytes: () => Buffer.from(`POST /v1/completions HTTP/1.1\r\nhost: s\r\nx-${i}`),
      hangUpAfterBytes: 50,
    },
    { name: 'wrong method', bytes: () => get('/v1/completions', 'PUT'), status: 405 },
    { name: 'odd method', bytes: () => get('/v1/chat/completions', 'PROPFIND'), status: 405 },
    { name: 'unknown route', bytes: () => get('/v1/engines'), status: 404 },
    { name: 'traversal on pages', bytes: () => get('/../../../../etc/passwd'), status: 404 },
    { name: 'encoded traversal on pages', bytes: () => get('/%2e%2e/%2e%2e/%2e%2e/etc/passwd'), status: 404 },
    { name: 'encoded slash traversal', bytes: () => get('/..%2f..%2f..%2fetc%2fpasswd'), status: 404 },
    { name: 'backslash traversal', bytes: () => get('/..%5c..%5cetc%5cpasswd'), status: 404 },
    { name: 'null byte on pages', bytes: () => get('/index.html%00.txt'), status: 400 },
    { name: 'traversal on shards', bytes: () => get('/shards/..%2f..%2fetc%2fpasswd'), status: 404 },
    { name: 'null byte on shards', bytes: () => get('/shards/%00'), status: 404 },
    { name: 'long shard name', bytes: () => get(`/shards/${'a'.repeat(8000)}`), status: 404 },
    { name: 'bad percent escape', bytes: () => get('/shards/%zz'), status: 400 },
    { name: 'messages of nothing', bytes: () => chat([[], null, 5]), status: 400 },
    { name: 'content of objects', bytes: () => chat([{ role: 'user', content: { toString: prompt } }]), status: 400 },
    {
      name: 'hang-up in mid stream',
      bytes: () => post(body({ stream: true, max_tokens: 900, n: 2 })),
      hangUpAfterBytes: 2000,
    },
    { name: 'hang-up before a document', bytes: () => post(body({ max_tokens: 900 })), hangUpAfterBytes: 0 },
    {
      name: 'garbage behind a stream',
      bytes: () => Buffer.concat([post(body({ stream: true, max_tokens: 40 })), Buffer.from('\0garbage')]),
    },
    {
      name: 'pipelined',
      bytes: () =>
        Buffer.concat([Buffer.from('GET /v1/models HTTP/1.1\r\nhost: s\r\n\r\n'.repeat(20)), get('/v1/models')]),
      status: 200,
    },
  ];
}

/** Sends, and resolves with everything received until either side closed. */
function attack({ bytes, hangUpAfterBytes, status }: Attack): Promise<string> {
  return new Promise((resolve) => {
    const received: Buffer[] = [];
    let receivedBytes = 0;
    const socket = connect(server.port, '127.0.0.1', () => {
      socket.write(bytes());
      if (hangUpAfterBytes !== undefined) setTimeout(() => socket.destroy(), LISTEN_MS / 4);
    });
    // Where an answer is due, the server closes.
    if (status === undefined) socket.setTimeout(LISTEN_MS, () => socket.destroy());
    socket.on('data', (chunk) => {
      received.push(chunk);
      receivedBytes += chunk.length;
      if (hangUpAfterBytes !== undefined && receivedBytes >= hangUpAfterBytes) socket.destroy();
    });
    // A refused sender may be reset while it still writes; that is its outcome, not a failure.
    socket.on('error', () => socket.destroy());
    socket.on('close', () => resolve(Buffer.concat(received).toString()));
  });
}

async function storm() {
  const list = Array.from({ length: HOSTILE_REQUESTS }, (_, i) => {
    const kinds = attacks(i);
    return kinds[i % kinds.length]!;
  });
  const streams = Array.from({ length: GOOD_STREAMS }, (_, index) => readStream(good(index)));
  const outcomes = await Promise.all(list.map(async (one) => ({ ...one, answer: await attack(one) })));
  return { outcomes, texts: await Promise.all(streams) };
}

function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
}

describe('hostile HTTP', () => {
  it('answers each kind of attack with its own refusal, in OpenAI’s shape', async () => {
    for (const one of attacks(0)) {
      const answer = await attack(one);
      if (one.status === undefined) continue;
      const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1]);
      expect(status, `${one.name}: ${answer.slice(0, 300)}`).toBe(one.status);
      if (status === 200) continue;
      const json = JSON.parse(answer.slice(answer.indexOf('\r\n\r\n') + 4));
      expect(json.error, one.name).toMatchObject({ message: expect.any(String), type: expect.any(String) });
      expect(answer, one.name).not.toMatch(/root:|node_modules|\.ts:|    at /);
    }
    await until(() => server.generation.live === 0);
  });

  it('survives 200 at once: good streams are as alone, nothing leaks, everything is freed', async () => {
    const alone: string[] = [];
    for (let index = 0; index < GOOD_STREAMS; index++) alone.push(await readStream(good(index)));
    expect(new Set(alone).size).toBe(GOOD_STREAMS);

    const { outcomes, texts } = await storm();
    expect(texts).toEqual(alone);
    for (const [i, { name, answer }] of outcomes.entries()) {
      const others = [...answer.matchAll(/marker-[gh]-\d+-/g)].filter(([marker]) => marker !== `marker-h-${i}-`);
      expect(others, name).toEqual([]);
    }
    await until(() => server.generation.live === 0);
    expect(server.logged.join('')).not.toMatch(/marker-[gh]-/);
    expect((await fetch(`${server.url}/healthz`)).status).toBe(200);
  });

  it('gives its memory back', async () => {
    const heapAfterStorm = async () => {
      await storm();
      await until(() => server.generation.live === 0);
      server.generation.submitted.length = 0;
      server.logged.length = 0;
      collectGarbage();
      return process.memoryUsage().heapUsed;
    };
    await heapAfterStorm();
    const before = await heapAfterStorm();
    await heapAfterStorm();
    const after = await heapAfterStorm();
    // One 2 MiB body kept by mistake per storm, or one generation per hang-up, would show; noise is some 100 KB.
    expect(after - before).toBeLessThan(2 << 20);
  });
});
