import { connect } from 'node:net';
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { until } from '../../coordinator/src/http/testing/harness.ts';
import { json, server, start } from './plain-server.ts';

describe('paths', () => {
  it('serves those of base URLs with a part too few or too many, as the routes that they mean', async () => {
    const get = await start();
    for (const path of [
      '/v1//chat/completions',
      '/chat/completions',
      '/v1/v1/chat/completions/',
      '//v1/chat/completions',
    ]) {
      const response = await get(path, {
        ...json({}),
        body: JSON.stringify({ model: 'fake-model', messages: [{ role: 'user', content: 'A' }] }),
      });
      expect([response.status, response.headers.get('access-control-allow-origin')], path).toEqual([200, '*']);
      await response.text();
    }
    for (const path of ['/v1/models/', '/models', '//v1/models', '/v1/v1/models']) {
      expect(await (await get(path)).json(), path).toMatchObject({ object: 'list' });
    }
    expect((await get('/v1/models/fake-model/')).status).toBe(200);
    expect((await get('/chat/completions', { method: 'OPTIONS' })).status).toBe(204);
    expect((await get('/completions/')).headers.get('allow')).toBe('POST');
    const metrics = await (await get('/metrics')).text();
    expect(metrics).toContain('{route="/v1/chat/completions",method="POST",status="200"} 4');
    expect(metrics).not.toContain('status="404"');
  });

  it('asks whether another path was meant', async () => {
    const get = await start();
    for (const path of ['/v1/chat/completion', '/api/v1/chat/completions']) {
      expect(await (await get(path, json({}))).json(), path).toMatchObject({
        error: { code: 'unknown_url', message: expect.stringContaining('Did you mean /v1/chat/completions?') },
      });
    }
    expect(await (await get('/v1/embeddings', json({}))).json()).toMatchObject({
      error: { message: expect.not.stringContaining('mean') },
    });
  });

  it('answers HEAD where it answers GET', async () => {
    const get = await start();
    for (const path of ['/v1/models', '/health', '/healthz', '/version']) {
      const response = await get(path, { method: 'HEAD' });
      expect([response.status, await response.text()], path).toEqual([200, '']);
    }
  });
});

describe('compressed bodies', () => {
  const encodings: readonly (readonly [encoding: string, compress: (text: string) => Buffer])[] = [
    ['gzip', gzipSync],
    ['X-Gzip', gzipSync],
    ['deflate', deflateSync],
    ['deflate', deflateRawSync],
    ['br', brotliCompressSync],
    ['identity', (text) => Buffer.from(text)],
  ];
  const post = (encoding: string, body: Buffer): RequestInit => ({
    method: 'POST',
    headers: { 'content-type': 'application/json', 'content-encoding': encoding },
    body: new Uint8Array(body),
  });
  const request = JSON.stringify({ model: 'fake-model', prompt: 'A' });

  it.each(encodings)('reads %s', async (encoding, compress) => {
    const get = await start();
    const response = await get('/v1/completions', post(encoding, compress(request)));
    expect([response.status, await response.json()]).toEqual([
      200,
      expect.objectContaining({ object: 'text_completion' }),
    ]);
  });

  it.each(encodings.slice(0, 5))(
    'refuses what is too large after %s, and what is not so compressed',
    async (encoding, compress) => {
      const get = await start({ limits: { bodyBytes: 64 << 10 } });
      const bomb = compress(JSON.stringify({ model: 'fake-model', prompt: ' '.repeat(16 << 20) }));
      expect(bomb.length).toBeLessThan(64 << 10);
      const refused = await get('/v1/completions', post(encoding, bomb));
      expect([refused.status, await refused.json()]).toMatchObject([413, { error: { code: 'body_too_large' } }]);
      for (const damaged of [Buffer.from('no such format'), compress(request).subarray(0, 20), Buffer.alloc(1)]) {
        const response = await get('/v1/completions', post(encoding, damaged));
        expect([response.status, await response.json()]).toMatchObject([400, { error: { code: 'invalid_encoding' } }]);
      }
      expect((await get('/v1/completions', post(encoding, compress(`${'['.repeat(40)}`)))).status).toBe(400);
    },
  );

  it.each(['zstd', 'compress', 'gzip, br'])('says which encodings there are instead of %s', async (encoding) => {
    const get = await start();
    const response = await get('/v1/completions', post(encoding, Buffer.from(request)));
    expect([response.status, response.headers.get('accept-encoding')]).toEqual([415, 'gzip, deflate, br']);
    expect(await response.json()).toMatchObject({ error: { code: 'unsupported_encoding' } });
  });
});

describe('connections', () => {
  it('are kept longer than the pools of proxies keep them, and say for how long', async () => {
    const get = await start();
    const { headers } = await get('/healthz');
    const seconds = Number(/^timeout=(\d+)$/.exec(headers.get('keep-alive')!)![1]);
    // Google's load balancers keep theirs for 600 s, Caddy for 120 s, nginx for 60 s.
    expect(seconds).toBeGreaterThan(600);
    expect(server.app.server.keepAliveTimeout).toBe(1000 * seconds);
  });

  it('are told to send the body that they wait with', async () => {
    await start();
    const body = JSON.stringify({ model: 'fake-model', prompt: 'A' });
    const socket = connect(server.port, '127.0.0.1');
    let answer = '';
    socket.on('data', (data: Buffer) => (answer += data.toString()));
    const head =
      'POST /v1/completions HTTP/1.1\r\nhost: s\r\ncontent-type: application/json\r\nexpect: 100-continue\r\n';
    socket.write(`${head}content-length: ${body.length}\r\n\r\n`);
    await until(() => answer.startsWith('HTTP/1.1 100 Continue\r\n\r\n'));
    socket.write(body);
    await until(() => answer.includes('HTTP/1.1 200 OK') && answer.includes('"text_completion"'));
    socket.destroy();
  });
});
