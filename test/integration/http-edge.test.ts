import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { VERSION } from '../../coordinator/src/base/version.ts';
import { GenerationError } from '../../coordinator/src/scheduler/generation.ts';
import { Access } from '../../coordinator/src/access/access.ts';
import { ApiKeys } from '../../coordinator/src/access/api-keys.ts';
import { parseShardUrl } from '../../coordinator/src/base/shard-url.ts';
import { type HttpAccess, type HttpDeps, mirrorTemplates, s3Credentials } from '../../coordinator/src/http/index.ts';
import { until } from '../../coordinator/src/http/testing/harness.ts';
import { json, server, start } from './plain-server.ts';

describe('pages', () => {
  function builtPages() {
    const root = mkdtempSync(join(tmpdir(), 'shoal-pages-'));
    for (const [name, assets] of [
      ['donor', 'assets'],
      ['console', 'console-assets'],
    ] as const) {
      mkdirSync(join(root, name, assets), { recursive: true });
      writeFileSync(join(root, name, 'index.html'), `<p>${name}</p>`);
      writeFileSync(join(root, name, assets, `${name}-4f2a.js`), '1');
    }
    writeFileSync(join(root, 'secret.txt'), 'secret');
    return { donor: join(root, 'donor'), console: join(root, 'console') };
  }

  it('serves the donor page, and the console under all of its names', async () => {
    const get = await start({ staticRoots: builtPages() });
    expect(await (await get('/')).text()).toBe('<p>donor</p>');
    for (const path of ['/console', '/console/peers/3', '/playground', '/lab', '/docs']) {
      const page = await get(path);
      expect(await page.text(), path).toBe('<p>console</p>');
      expect(page.headers.get('cache-control')).toBe('no-cache');
    }
    for (const path of ['/assets/donor-4f2a.js', '/console-assets/console-4f2a.js']) {
      const asset = await get(path);
      expect(asset.status, path).toBe(200);
      expect(asset.headers.get('cache-control')).toContain('immutable');
      expect(asset.headers.get('content-type')).toContain('javascript');
    }
    expect((await get('/assets/none.js')).status).toBe(404);
    expect((await get('/v1/none')).status).toBe(404);
  });

  it('sends the security headers with everything', async () => {
    const get = await start({ staticRoots: builtPages() });
    for (const path of ['/', '/console', '/docs/', '/assets/none.js', '/v1/models', '/healthz']) {
      const { headers } = await get(path);
      expect(headers.get('content-security-policy'), path).toContain("frame-ancestors 'none'");
      expect(headers.get('content-security-policy'), path).not.toMatch(/(?<!wasm-)unsafe-eval/);
      // No other host, not even by WebSocket.
      expect(headers.get('content-security-policy'), path).toMatch(/connect-src 'self';/);
      expect(headers.get('x-content-type-options')).toBe('nosniff');
      expect(headers.get('cross-origin-opener-policy')).toBe('same-origin');
      expect(headers.get('cross-origin-embedder-policy')).toBe('require-corp');
    }
  });

  it('says what is missing where pages were not built', async () => {
    const get = await start();
    const page = await get('/');
    expect(page.status).toBe(404);
    expect(await page.json()).toMatchObject({ error: { code: 'unknown_url' } });
  });
});

describe('shards', () => {
  it('sends immutable bytes and counts them', async () => {
    const bytes = Buffer.from(Array.from({ length: 100_000 }, (_, i) => i % 251));
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    const path = join(mkdtempSync(join(tmpdir(), 'shoal-shard-')), 'shard');
    writeFileSync(path, bytes);
    const get = await start({ shard: (name) => (name === sha256 ? { path, bytes: bytes.length } : undefined) });

    const shard = await get(`/shards/${sha256}`);
    expect(Buffer.from(await shard.arrayBuffer()).equals(bytes)).toBe(true);
    expect(Object.fromEntries(shard.headers)).toMatchObject({
      'cache-control': 'public, max-age=31536000, immutable',
      'content-type': 'application/octet-stream',
      'content-length': '100000',
      etag: `"${sha256}"`,
      'access-control-allow-origin': '*',
    });
    const again = await get(`/shards/${sha256}`, { headers: { 'if-none-match': `"${sha256}"` } });
    expect(again.status).toBe(304);
    const rest = await get(`/shards/${sha256}`, { headers: { range: 'bytes=99990-' } });
    expect([rest.status, rest.headers.get('content-range')]).toEqual([206, 'bytes 99990-99999/100000']);
    expect(Buffer.from(await rest.arrayBuffer())).toEqual(bytes.subarray(99_990));
    expect((await get(`/shards/${sha256}`, { method: 'HEAD' })).headers.get('content-length')).toBe('100000');
    expect((await get(`/shards/${sha256.toUpperCase()}`)).status).toBe(404);
    expect((await get(`/shards/${'0'.repeat(64)}`)).status).toBe(404);

    const metrics = await (await get('/metrics')).text();
    expect(metrics).toContain('shoal_shard_downloads_total 2');
    expect(metrics).toContain('shoal_shard_bytes_total{source="coordinator"} 100010');
    expect(metrics).toContain('shoal_http_request_seconds_count{route="/shards/:sha256",method="GET",status="404"} 2');
  });
});

describe('mirrors of shards', () => {
  const urls = ['https://cdn.example/w?token=t', 's3:eu-west-1:https://private.s3.example/w'].map(parseShardUrl);
  const s3 = { accessKeyId: 'id', secretAccessKey: 'secret' };
  const sha256 = 'a'.repeat(64);
  const shard = (name: string) => (name === sha256 ? { path: '/dev/null', bytes: 1000 } : undefined);

  it('are what the pages may connect to, and a private bucket gets a signed URL for a shard of the model', async () => {
    const get = await start({ shard, mirrors: { urls, s3, tabBytes: () => ({ mirror: 7, tab: 5 }) } });
    const policy = (await get('/healthz')).headers.get('content-security-policy');
    expect(policy).toContain("connect-src 'self' https://cdn.example https://private.s3.example;");
    expect(mirrorTemplates({ urls })).toEqual(['https://cdn.example/w/{sha256}?token=t', '/mirrors/1/{sha256}']);
    const signed = await get(`/mirrors/1/${sha256}`, { redirect: 'manual' });
    expect([signed.status, signed.headers.get('cache-control')]).toEqual([307, 'no-store']);
    const to = new URL(signed.headers.get('location')!);
    expect(to.href).toMatch(new RegExp(`^https://private.s3.example/w/${sha256}\\?X-Amz-Algorithm=`));
    expect(to.searchParams.get('X-Amz-Credential')).toMatch(/^id\/\d{8}\/eu-west-1\/s3\/aws4_request$/);
    for (const path of [`/mirrors/0/${sha256}`, `/mirrors/1/${'b'.repeat(64)}`, `/mirrors/9/${sha256}`]) {
      expect((await get(path, { redirect: 'manual' })).status).toBe(404);
    }
    const metrics = await (await get('/metrics')).text();
    expect(metrics).toContain('shoal_shard_bytes_total{source="mirror"} 7');
    expect(metrics).toContain('shoal_shard_bytes_total{source="tab"} 5');
  });

  it('count towards the allowance of an address where URLs are signed', async () => {
    const takeShardBytes = (_: unknown, bytes: number): number => (bytes === 1000 ? 5_000 : 0);
    const access: HttpAccess = {
      keys: new ApiKeys(new Access({})),
      takeShardBytes,
      refuseMetrics: () => undefined,
      refuseOperator: () => undefined,
      addressOf: () => '203.0.113.7',
    };
    const get = await start({ shard, access, mirrors: { urls, s3, tabBytes: () => ({ mirror: 0, tab: 0 }) } });
    const refused = await get(`/mirrors/1/${sha256}`, { redirect: 'manual' });
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([429, '5']);
  });

  it('need credentials where URLs are signed', () => {
    expect(() => s3Credentials(urls, {})).toThrow(/AWS_ACCESS_KEY_ID/);
    expect(s3Credentials(urls.slice(0, 1), {})).toBeUndefined();
    const env = { AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b', AWS_SESSION_TOKEN: 'c' };
    expect(s3Credentials(urls, env)).toEqual({ accessKeyId: 'a', secretAccessKey: 'b', sessionToken: 'c' });
  });
});

it('answers 500 for a shard whose file is gone, and counts nothing', async () => {
  const sha256 = '0'.repeat(64);
  const get = await start({ shard: () => ({ path: join(tmpdir(), 'shoal-no-such-shard'), bytes: 100_000 }) });
  for (let turn = 0; turn < 2; turn++) {
    const response = await get(`/shards/${sha256}`);
    expect([response.status, response.headers.get('cache-control')]).toEqual([500, 'no-store']);
    expect(await response.json()).toMatchObject({ error: { code: 'internal_error' } });
  }
  expect(await (await get('/metrics')).text()).toContain('shoal_shard_downloads_total 0');
});

describe('health and documents', () => {
  it('tells up from ready', async () => {
    let ready = true;
    const get = await start({ readiness: () => ({ ready, detail: { tabs: 3, uncoveredExperts: 7 } }) });
    expect(await (await get('/healthz')).json()).toMatchObject({ status: 'up', version: VERSION });
    expect(await (await get('/readyz')).json()).toEqual({ ready: true, tabs: 3, uncoveredExperts: 7 });
    ready = false;
    expect((await get('/readyz')).status).toBe(503);
    for (const path of ['/health', '/ping']) {
      ready = true;
      expect([(await get(path)).status, await (await get(path)).json()], path).toEqual([200, { status: 'ok' }]);
      ready = false;
      expect([(await get(path)).status, await (await get(path)).json()], path).toEqual([
        503,
        { status: 'unavailable' },
      ]);
    }
    expect((await get('/ping', { method: 'POST' })).status).toBe(503);
    expect(await (await get('/version')).json()).toEqual({ version: expect.stringMatching(/^\d+\.\d+\.\d+/) });
    expect((await get('/healthz')).status).toBe(200);
  });

  it('documents every route that it has', async () => {
    const get = await start();
    const document = (await (await get('/openapi.json')).json()) as { openapi: string; paths: Record<string, object> };
    expect(document.openapi).toBe('3.1.0');
    const served = Object.entries(document.paths).map(([path, methods]) => [path, Object.keys(methods)]);
    expect(Object.fromEntries(served)).toEqual({
      '/v1/embeddings': ['post'],
      '/v1/messages': ['post'],
      '/v1/messages/count_tokens': ['post'],
      '/v1/responses': ['post'],
      '/v1/responses/input_tokens': ['post'],
      '/v1/responses/{response_id}': ['get', 'delete'],
      '/v1/responses/{response_id}/input_items': ['get'],
      '/v1/tokenize': ['post'],
      '/v1/detokenize': ['post'],
      '/v1/load_lora_adapter': ['post'],
      '/v1/unload_lora_adapter': ['post'],
      '/v1/gates': ['get', 'post'],
      '/v1/usage': ['get'],
      '/admin/access': ['get', 'patch'],
      '/admin/access/import': ['post'],
      '/admin/keys': ['post'],
      '/admin/keys/{name}': ['parameters', 'patch', 'delete'],
      '/admin/invites': ['post'],
      '/admin/invites/{name}': ['parameters', 'patch', 'delete'],
      '/admin/admins': ['post'],
      '/admin/admins/{name}': ['parameters', 'patch', 'delete'],
      '/admin/alerts': ['get'],
      '/admin/alerts/test': ['post'],
      '/admin/bans': ['get', 'post'],
      '/admin/bans/{id}': ['parameters', 'delete'],
      '/admin/quarantines/{key}': ['parameters', 'delete'],
      '/admin/history': ['get'],
      '/admin/names/{name}': ['parameters', 'delete'],
      '/admin/teams/{id}': ['parameters', 'delete'],
      '/admin/settings': ['get', 'patch'],
      '/admin/usage': ['get'],
      '/v1/models': ['get'],
      '/v1/models/{model}': ['get'],
      '/v1/completions': ['post'],
      '/v1/chat/completions': ['post'],
      '/shards/{sha256}': ['get'],
      '/donor-info': ['get'],
      '/swarm.json': ['get'],
      '/swarm/pictures/{name}.svg': ['get'],
      '/healthz': ['get'],
      '/readyz': ['get'],
      '/health': ['get'],
      '/ping': ['get'],
      '/version': ['get'],
      '/metrics': ['get'],
      '/openapi.json': ['get'],
    });
    const text = JSON.stringify(document);
    for (const [, name] of text.matchAll(/#\/components\/schemas\/(\w+)/g)) {
      expect(document).toHaveProperty(['components', 'schemas', name!]);
    }
  });

  it('answers its own documented examples', async () => {
    const get = await start();
    const document = JSON.parse(await (await get('/openapi.json')).text());
    const paths = ['completions', 'chat/completions', 'messages/count_tokens', 'tokenize', 'detokenize'];
    for (const path of paths.map((name) => `/v1/${name}`)) {
      const { examples } = document.paths[path].post.requestBody.content['application/json'];
      for (const [name, { value }] of Object.entries<{ value: object }>(examples)) {
        const response = await get(path, { ...json({}), body: JSON.stringify(value) });
        expect(response.status, `${path} ${name}`).toBe(200);
        await response.text();
      }
    }
  });
});

describe('methods, types and origins', () => {
  it('answers 405 with Allow, and 415', async () => {
    const get = await start();
    const wrong = await get('/v1/completions');
    expect([wrong.status, wrong.headers.get('allow')]).toEqual([405, 'POST']);
    expect(await wrong.json()).toMatchObject({ error: { type: 'invalid_request_error', code: 'method_not_allowed' } });
    expect((await get('/v1/models', { method: 'DELETE' })).headers.get('allow')).toBe('GET');
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data']) {
      const typed = await get('/v1/completions', { method: 'POST', headers: { 'content-type': type }, body: '{}' });
      expect(typed.status, type).toBe(415);
      expect(await typed.json()).toMatchObject({ error: { message: expect.stringContaining('application/json') } });
    }
    const untyped = await get('/v1/completions', { method: 'POST', body: Buffer.from('{}') });
    expect(untyped.status).toBe(415);
  });

  it('lets pages of any origin call the API, without credentials', async () => {
    const get = await start();
    const asked =
      'authorization,content-type,x-api-key,api-key,anthropic-version,anthropic-beta,' +
      'anthropic-dangerous-direct-browser-access,x-stainless-os';
    const preflight = await get('/v1/chat/completions', {
      method: 'OPTIONS',
      headers: {
        origin: 'https://page.example',
        'access-control-request-method': 'POST',
        'access-control-request-headers': asked,
      },
    });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get('access-control-allow-origin')).toBe('*');
    expect(preflight.headers.get('access-control-allow-headers')).toBe(asked);
    expect(preflight.headers.get('access-control-allow-credentials')).toBeNull();
    expect((await get('/v1/completions', json({}))).headers.get('access-control-allow-origin')).toBe('*');
    const stream = await get('/v1/completions', json({ stream: true }));
    expect(stream.headers.get('access-control-allow-origin')).toBe('*');
    await stream.text();
    expect((await get('/healthz')).headers.get('access-control-allow-origin')).toBeNull();
  });

  it('narrows the origins where it is told to', async () => {
    const get = await start({ corsOrigins: ['https://mine.example'] });
    const allowed = async (origin: string) =>
      (await get('/v1/models', { headers: { origin } })).headers.get('access-control-allow-origin');
    expect(await allowed('https://mine.example')).toBe('https://mine.example');
    expect(await allowed('https://other.example')).toBeNull();
  });
});

describe('slow things', () => {
  async function startSlow(ids: number[], tokenDelayMs: number, deps: Partial<HttpDeps>, slots = 64) {
    await start(deps, { script: () => ({ ids, tokenDelayMs }), slots, maxContext: 1_000_000 });
  }
  const body = (extra: object) => JSON.stringify({ model: 'fake-model', prompt: 'A', ...extra });
  function rawPost(text: string) {
    const socket = connect(server.port, '127.0.0.1');
    socket.on('error', () => {});
    socket.write(
      `POST /v1/completions HTTP/1.1\r\nhost: s\r\ncontent-type: application/json\r\ncontent-length: ${text.length}\r\n\r\n${text}`,
    );
    return socket;
  }

  it('sends comments while a stream waits in the queue', async () => {
    await startSlow([97], 300, { limits: { sseKeepAliveMs: 20 } }, 1);
    const first = fetch(`${server.url}/v1/completions`, json({}));
    await until(() => server.generation.live === 1);
    const queued = await (await fetch(`${server.url}/v1/completions`, json({ stream: true }))).text();
    expect(queued).toMatch(/^: keep-alive\n\n/);
    expect(queued).toMatch(/data: \[DONE\]\n\n$/);
    await (await first).text();
  });

  it('cuts a stream whose reader takes nothing, and frees its generation', async () => {
    await startSlow(
      Array.from({ length: 900_000 }, () => 97),
      0,
      { limits: { stallMs: 100 } },
    );
    const socket = rawPost(body({ stream: true, max_tokens: 900_000 }));
    await new Promise((resolve) => socket.once('data', resolve));
    socket.pause();
    expect(server.generation.live).toBe(1);
    await until(() => server.generation.live === 0);
    expect(await server.registry.metrics()).toContain('shoal_http_stalled_readers_total 1');
    socket.destroy();
  });

  it('ends answers at their deadline, as a 504 or an error event', async () => {
    await startSlow(
      Array.from({ length: 1000 }, () => 97),
      20,
      { limits: { answerDeadlineMs: 100 } },
    );
    const whole = await fetch(`${server.url}/v1/completions`, json({ max_tokens: 1000 }));
    expect(whole.status).toBe(504);
    expect(await whole.json()).toMatchObject({ error: { code: 'timeout' } });
    const stream = await fetch(`${server.url}/v1/completions`, json({ max_tokens: 1000, stream: true }));
    const text = await stream.text();
    expect(text).toContain('"code":"timeout"');
    expect(text).not.toContain('[DONE]');
    await until(() => server.generation.live === 0);
  });

  it('refuses headers that do not arrive in time', async () => {
    await startSlow([97], 0, { limits: { headersTimeoutMs: 50 } });
    const socket = connect(server.port, '127.0.0.1');
    socket.write('POST /v1/completions HTTP/1.1\r\nhost: s\r\n');
    const received: Buffer[] = [];
    socket.on('data', (chunk) => received.push(chunk));
    await new Promise((resolve) => socket.once('close', resolve));
    expect(Buffer.concat(received).toString()).toMatch(/^HTTP\/1\.1 408 [^]*"code":"request_timeout"/);
  });

  it('tells streams of a shutdown with an error event, then closes', async () => {
    await start(
      {},
      {
        script: () => ({
          ids: [97, 98],
          tokenDelayMs: 20,
          failAt: { index: 1, error: new GenerationError('draining', 'd') },
        }),
      },
    );
    const stream = await fetch(`${server.url}/v1/completions`, json({ stream: true }));
    const closed = server.app.close();
    expect(await stream.text()).toContain('"code":"draining"');
    await closed;
  });
});
