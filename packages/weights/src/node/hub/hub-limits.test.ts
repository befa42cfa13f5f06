import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { COMMIT, FakeHub, type FakeHubOptions, REPO } from '../../testing/fake-hub.ts';
import { openSource } from '../source/open-source.ts';
import { fetchBytes, HeaderSum } from './file-header.ts';
import { guardBody, readBytes } from './guarded-body.ts';
import { HubClient } from './hub-client.ts';
import { parseHubName } from './hub-name.ts';

const home = await mkdtemp(join(tmpdir(), 'shoal-hub-limits-'));
let hub: FakeHub | undefined;
afterEach(async () => {
  await hub?.close();
  hub = undefined;
});
afterAll(() => rm(home, { recursive: true, force: true }));

async function smallFilesOf(names: Record<string, string>, fault?: FakeHubOptions['fault']): Promise<string[]> {
  const files = new Map(Object.entries(names).map(([name, text]) => [name, Buffer.from(text)]));
  hub = await FakeHub.start({ files, fault });
  const dir = await mkdtemp(join(home, 'home-'));
  const env = { ...hub.env, HF_HOME: dir };
  const source = await openSource(`${REPO}@${COMMIT}`, { env, patience: { tries: 1 } });
  return (await source.files()).map(({ name }) => name);
}

describe('what a hub sends beside the weights is bounded together', () => {
  it('of its Python files the one with the code of the tokenizer is fetched', async () => {
    const config = JSON.stringify({ auto_map: { AutoTokenizer: ['tokenization_kimi.Tokenizer', null] } });
    const code = Object.fromEntries(Array.from({ length: 70 }, (_, i) => [`tokenization_${i}.py`, 'pass']));
    const files = { 'config.json': '{}', 'tokenizer_config.json': config, 'tokenization_kimi.py': 'pass', ...code };
    expect(await smallFilesOf(files)).toEqual(['config.json', 'tokenization_kimi.py', 'tokenizer_config.json']);
    expect(hub!.namesOf('resolve').filter((name) => name.endsWith('.py'))).toEqual(['tokenization_kimi.py']);
  });

  it('more small files than a model has are refused before they are fetched', async () => {
    const licenses = Object.fromEntries(Array.from({ length: 70 }, (_, i) => [`LICENSE.${i}`, 'x']));
    await expect(smallFilesOf({ 'config.json': '{}', ...licenses })).rejects.toMatchObject({
      reason: 'bad-model',
      message: expect.stringMatching(/has 71 files beside its weights/) as string,
    });
    expect(hub!.namesOf('resolve')).toEqual([]);
  });

  it('a list of empty pages ends', async () => {
    const listed = smallFilesOf({ 'config.json': '{}' }, ({ kind }, response) => {
      if (kind !== 'tree') return false;
      response.setHeader('link', `<${hub!.url}/api/models/${REPO}/tree/${COMMIT}?cursor=1>; rel="next"`);
      response.setHeader('content-type', 'application/json').end('[]');
      return true;
    });
    await expect(listed).rejects.toMatchObject({
      reason: 'bad-answer',
      message: expect.stringMatching(/lists 0 files on 16 pages, and still goes on/) as string,
    });
  });

  it('headers of all files have one limit', () => {
    const sum = new HeaderSum();
    sum.add(new Uint8Array(200e6), 'a.safetensors');
    expect(() => sum.add(new Uint8Array(100e6), 'b.safetensors')).toThrow(/b\.safetensors.*all files together/);
  });
});

it('a body that only drips is given up', async () => {
  let sent = 0;
  const drips = new ReadableStream<Uint8Array>({
    pull: async (controller) => {
      await new Promise((resolve) => setTimeout(resolve, 10));
      // It ends by itself, so that a reader that is patient fails the test.
      if (++sent > 100) controller.close();
      else controller.enqueue(new Uint8Array(1));
    },
  });
  const read = readBytes(guardBody(new Response(drips), { maxBytes: 1e6, stallMs: 100 }));
  await expect(read).rejects.toMatchObject({
    reason: 'no-network',
    message: expect.stringMatching(/only \d+ bytes/) as string,
  });
});

describe('a client of an encrypted hub', () => {
  const settings = { token: undefined, tokenFrom: '', cacheDir: home, offline: true };
  const name = parseHubName(REPO);

  it.each(['http://127.0.0.1:1/', 'http://169.254.169.254/latest', 'data:,[]', 'file:///etc/passwd'])(
    'does not ask %s, whoever gave that address',
    async (url) => {
      const client = new HubClient({ settings: { ...settings, endpoint: 'https://hub.invalid' }, name });
      await expect(client.request(url, undefined, 10)).rejects.toMatchObject({
        reason: 'bad-answer',
        message: expect.stringMatching(/leads to .*, which is not followed/) as string,
      });
    },
  );

  it('does ask in plain where the hub is a plain one', async () => {
    hub = await FakeHub.start({ files: new Map() });
    const client = new HubClient({ settings: { ...settings, endpoint: hub.url }, name });
    await expect(client.request(`${hub.url}/x`, undefined, 10)).rejects.toMatchObject({ reason: 'no-model' });
    await expect(client.request('data:,[]', undefined, 10)).rejects.toMatchObject({ reason: 'bad-answer' });
  });
});

it.each([204, 205])('an answer %i to a request for bytes of a file is no answer of a hub', async (status) => {
  const name = 'model.safetensors';
  hub = await FakeHub.start({
    files: new Map([[name, Buffer.alloc(100)]]),
    fault: ({ kind }, response) => {
      if (kind === 'resolve') response.writeHead(status).end();
      return kind === 'resolve';
    },
  });
  const settings = { endpoint: hub.url, token: undefined, tokenFrom: '', cacheDir: home, offline: false };
  const client = new HubClient({ settings, name: parseHubName(REPO) });
  const file = { name, bytes: 100, digest: { kind: 'git', hex: COMMIT }, xet: false } as const;
  await expect(fetchBytes(client, { commit: COMMIT, file }, 0, 100)).rejects.toMatchObject({
    reason: 'bad-answer',
    message: expect.stringMatching(`status ${status} where bytes`) as string,
  });
});
