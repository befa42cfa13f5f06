import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import {
  COMMIT,
  FakeHub,
  type FakeHubOptions,
  type HubRequest,
  refuse,
  REPO,
  splitModel,
} from '../../testing/fake-hub.ts';
import { packedContents } from '../../testing/packed-contents.ts';
import { writeSmallModel } from '../../testing/small-model.ts';
import { packModel } from '../pack-model.ts';
import { openPacked } from '../packed-model.ts';
import { openSource } from '../source/open-source.ts';

const folder = await mkdtemp(join(tmpdir(), 'shoal-hub-'));
const modelDir = join(folder, 'model');
await writeSmallModel(modelDir);
const files = await splitModel(modelDir, 4);
await writeFile(join(modelDir, 'tokenizer.json'), '{}');
files.set('tokenizer.json', Buffer.from('{}'));
let expected: string;
let hub: FakeHub | undefined;

beforeAll(async () => {
  const outDir = join(folder, 'expected');
  await packModel({ modelDir, outDir, quant: 'q8', modelId: 'Small-MoE' });
  expected = await packedContents(outDir);
});
afterEach(async () => {
  await hub?.close();
  hub = undefined;
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function start(options: Partial<FakeHubOptions> = {}): Promise<FakeHub> {
  return (hub = await FakeHub.start({ files, ...options }));
}

interface PackHow {
  home?: string;
  outDir?: string;
  offline?: boolean;
  token?: string;
  freeBytes?: () => Promise<number>;
}

let nextDir = 0;
async function pack(from: FakeHub, name = REPO, how: PackHow = {}) {
  const {
    home = join(folder, `home-${nextDir++}`),
    outDir = join(folder, `out-${nextDir++}`),
    offline,
    token,
    freeBytes,
  } = how;
  const patience = { tries: 3, delayMs: 1, maxDelayMs: 4, stallMs: 500, answerMs: 300 };
  const notices: string[] = [];
  const env = { ...from.env, HF_HOME: home, HF_TOKEN: token };
  const source = await openSource(name, { env, offline, patience, onNotice: (text) => notices.push(text) });
  const manifest = await packModel({ source, outDir, quant: 'q8', threads: 0, ...(freeBytes && { freeBytes }) });
  return { manifest, outDir, home, notices };
}

/** A fault that strikes the first requests of a kind. */
function strike(
  kind: HubRequest['kind'],
  times: number,
  answer: (response: ServerResponse, request: HubRequest) => void,
) {
  return (request: HubRequest, response: ServerResponse): boolean => {
    if (request.kind !== kind || request.count > times) return false;
    answer(response, request);
    return true;
  };
}

function altered(name: string): Buffer {
  const bytes = Buffer.from(files.get(name)!);
  bytes[bytes.byteLength - 1] = bytes.at(-1)! ^ 1;
  return bytes;
}

const WEIGHTS = 'model-00002-of-00004.safetensors';

describe('a model of a hub', () => {
  it.each([false, true])(
    'is packed while it is fetched, to the same bytes as from a directory (xet: %s)',
    async (xet) => {
      const { outDir } = await pack(await start({ xet }));
      expect(await packedContents(outDir)).toBe(expected);
    },
  );

  it('is found packed again with one request, with none by its commit, and offline', async () => {
    const server = await start();
    const { outDir, home } = await pack(server);
    const requests = () => server.requests.splice(0).map(({ kind }) => kind);
    requests();
    await pack(server, REPO, { home, outDir });
    expect(requests()).toEqual(['info']);
    await pack(server, `${REPO}@${COMMIT}`, { home, outDir });
    expect(requests()).toEqual([]);
    await server.close();
    await pack(server, REPO, { home, outDir, offline: true });
    // The hub is gone: the commit is taken that was known before.
    const { notices } = await pack(server, REPO, { home, outDir });
    expect(notices.at(-1)).toMatch(/cannot reach .*ECONNREFUSED.*taken to be at 0123/);
    await expect(pack(server, REPO, { offline: true })).rejects.toMatchObject({
      reason: 'offline',
      message: expect.stringMatching(/some-org\/Small-MoE@main cannot be found in the cache.*--offline/) as string,
    });
  });

  it('uses what is in the cache that other programs fill, and fetches the rest alone', async () => {
    const server = await start();
    const home = join(folder, 'cached');
    const repo = join(home, 'hub/models--some-org--Small-MoE');
    await mkdir(join(repo, 'snapshots', COMMIT), { recursive: true });
    await mkdir(join(repo, 'blobs'));
    for (const name of [WEIGHTS, 'config.json']) {
      await writeFile(join(repo, 'blobs', name), files.get(name)!);
      await symlink(`../../blobs/${name}`, join(repo, 'snapshots', COMMIT, name));
    }
    const { outDir } = await pack(server, REPO, { home });
    expect(await packedContents(outDir)).toBe(expected);
    const fetched = new Set(server.namesOf('resolve'));
    expect([fetched.has(WEIGHTS), fetched.has('config.json'), fetched.has('tokenizer.json')]).toEqual([
      false,
      false,
      true,
    ]);
    // Nor is the cached file dropped.
    expect((await readFile(join(repo, 'blobs', WEIGHTS))).equals(files.get(WEIGHTS)!)).toBe(true);
  });

  it('gives its token to the hub alone, also where it redirects elsewhere', async () => {
    const server = await start();
    await pack(server, REPO, { token: 'hf_secret' });
    const seen = (kind: string) =>
      new Set(server.requests.filter((one) => one.kind === kind).map((one) => one.authorization));
    expect([seen('info'), seen('tree'), seen('resolve')]).toEqual(
      ['info', 'tree', 'resolve'].map(() => new Set(['Bearer hf_secret'])),
    );
    expect(seen('store')).toEqual(new Set([undefined]));
  });

  it('is mended by ranges where its packed form is damaged', async () => {
    const server = await start();
    const { outDir, manifest, home } = await pack(server);
    const shard = join(outDir, 'shards', manifest.shards[1]![2]!);
    await writeFile(shard, 'damaged');
    server.requests.splice(0);
    vi.stubEnv('HF_ENDPOINT', server.url);
    vi.stubEnv('HF_HOME', home);
    const packed = await openPacked(outDir, { checkpoint: `${REPO}@${COMMIT}` });
    await packed.readShard(1, 2);
    vi.unstubAllEnvs();
    const ranges = server.requests.filter(({ kind }) => kind === 'store').map(({ range }) => range);
    expect(ranges.length).toBeGreaterThan(0);
    expect(await packedContents(outDir)).toBe(expected);
  });
});

describe('a hub that misbehaves is borne', () => {
  const tooMany = (response: ServerResponse): void => {
    response.setHeader('retry-after', '0');
    refuse(response, 429, '', 'Too Many Requests');
  };
  it.each<[string, FakeHubOptions['fault']]>([
    ['a storm of 429', strike('tree', 2, tooMany)],
    ['faults of its servers', strike('resolve', 2, (response) => refuse(response, 500, '', 'Internal'))],
    ['a connection that it breaks', strike('info', 2, (response) => response.destroy())],
    ['bodies that break off', (request, response) => breakOff(request, response, false)],
    ['bodies that break off, and ranges that are ignored', (request, response) => breakOff(request, response, true)],
    [
      'a body with wrong bytes, once',
      (request, response) => {
        const { kind, name, count, range } = request;
        // The first request for weights is for the header.
        if (kind !== 'store' || name !== WEIGHTS || count !== 2) return false;
        hub!.send(response, altered(name), range);
        return true;
      },
    ],
  ])('%s', async (_, fault) => {
    const { outDir } = await pack(await start({ fault }));
    expect(await packedContents(outDir)).toBe(expected);
  });

  function breakOff(
    { kind, name, range, count }: HubRequest,
    response: ServerResponse,
    ignoresRanges: boolean,
  ): boolean {
    if (kind !== 'store') return false;
    hub!.send(response, files.get(name)!, ignoresRanges ? undefined : range, count % 3 === 0 ? undefined : 600 * count);
    return true;
  }
});

describe('a hub that misbehaves is refused', () => {
  const withFile = (name: string, text: string): Partial<FakeHubOptions> => ({
    files: new Map([...files, [name, Buffer.from(text)]]),
  });
  const withHeader = (length: bigint): Partial<FakeHubOptions> => {
    const bytes = Buffer.from(files.get(WEIGHTS)!);
    bytes.writeBigUInt64LE(length);
    return { files: new Map([...files, [WEIGHTS, bytes]]) };
  };
  const indexOf = (file: string): Partial<FakeHubOptions> =>
    withFile('model.safetensors.index.json', JSON.stringify({ weight_map: { 'lm_head.weight': file } }));
  const always = (kind: HubRequest['kind'], answer: (response: ServerResponse, request: HubRequest) => void) => ({
    fault: strike(kind, Number.POSITIVE_INFINITY, answer),
  });
  const repo = `${REPO}@main`;

  it.each<[string, Partial<FakeHubOptions>, string, string, RegExp]>([
    [
      'no such model',
      {},
      'some-org/None',
      'no-model',
      /no model some-org\/None at .*check the spelling; if it is private, set HF_TOKEN/,
    ],
    ['a revision that is gone', {}, `${REPO}@v2`, 'no-revision', /has no revision v2/],
    [
      'a gated model',
      always('resolve', (response) => refuse(response, 403, 'GatedRepo', 'Access to model is restricted')),
      repo,
      'gated',
      /is gated: open http.*Small-MoE, accept the licence there, then set HF_TOKEN/,
    ],
    [
      'wrong bytes each time',
      {
        fault: ({ kind, name, range }, response) => {
          if (kind !== 'store' || name !== WEIGHTS) return false;
          hub!.send(response, altered(name), range);
          return true;
        },
      },
      repo,
      'wrong-hash',
      /another SHA-256 than .* lists, twice/,
    ],
    [
      'a file that is longer than listed',
      always('store', (response, { name }) =>
        response
          .writeHead(200, { 'transfer-encoding': 'chunked' })
          .end(Buffer.concat([files.get(name)!, Buffer.alloc(70_000)])),
      ),
      repo,
      'bad-answer',
      /larger|longer/,
    ],
    [
      '429 for a long time',
      always('tree', (response) => {
        response.setHeader('retry-after', '86400');
        refuse(response, 429, '', 'slow down');
      }),
      repo,
      'unavailable',
      /asks to wait for 1440 minutes/,
    ],
    [
      'faults without end',
      always('tree', (response) => refuse(response, 502, '', '')),
      repo,
      'unavailable',
      /has a fault \(502.*tried 3 times/,
    ],
    ['silence', always('tree', () => {}), repo, 'no-network', /did not answer/],
    [
      'redirects without end',
      always('resolve', (response, { name }) =>
        response.writeHead(302, { location: `/some-org/Small-MoE/resolve/x/${name}` }).end(),
      ),
      repo,
      'bad-answer',
      /redirects more than 5 times/,
    ],
    [
      'a redirect to a file',
      always('resolve', (response) => response.writeHead(302, { location: 'file:///etc/passwd' }).end()),
      repo,
      'bad-answer',
      /leads to file:/,
    ],
    [
      'no JSON',
      always('info', (response) => response.end('<html>')),
      repo,
      'bad-answer',
      /does not answer as a hub does/,
    ],
    [
      'an answer without end',
      always('tree', (response) => endless(response)),
      repo,
      'bad-answer',
      /larger than the \d+ bytes/,
    ],
    [
      'a list in another form',
      always('tree', (response) => response.end('[{"type":"file","path":"a.json","size":-1,"oid":"x"}]')),
      repo,
      'bad-answer',
      /not understood \(size/,
    ],
    [
      'an index that names a file elsewhere',
      indexOf('../../../etc/passwd'),
      repo,
      'bad-index',
      /not a plain \*\.safetensors name/,
    ],
    ['an index that names a file that is not listed', indexOf('model-9.safetensors'), repo, 'bad-model', /not list it/],
    [
      'a header beyond its limit',
      withHeader(200_000_000n),
      repo,
      'header-too-large',
      /announces a header of 200000000 bytes/,
    ],
    ['a header beyond its file', withHeader(90_000_000n), repo, 'truncated', /announces a header/],
  ])('%s', async (_, options, name, reason, message) => {
    await expect(pack(await start(options), name)).rejects.toMatchObject({
      reason,
      message: expect.stringMatching(message) as string,
    });
  });

  function endless(response: ServerResponse): void {
    const more = (): void => {
      while (!response.destroyed && response.write(Buffer.alloc(1 << 20, ' ')));
      response.once('drain', more);
    };
    more();
  }

  it('a header that its file does not have, before anything is packed by it; the next run goes on', async () => {
    const text = files.get(WEIGHTS)!.toString('latin1');
    const swapped = Buffer.from(text.replace(/mlp\.gate(.*?)mlp\.up/, 'mlp.up$1mlp.gate'), 'latin1');
    const fault = strike('store', 1, (response, { name, range }) =>
      hub!.send(response, name === WEIGHTS ? swapped : files.get(name)!, range),
    );
    const server = await start({ fault });
    const [home, outDir] = [join(folder, 'swapped-home'), join(folder, 'swapped')];
    await expect(pack(server, REPO, { home, outDir })).rejects.toMatchObject({
      reason: 'wrong-hash',
      message: expect.stringMatching(/00002.*begins with another header.*run again/) as string,
    });
    server.requests.splice(0);
    await pack(server, REPO, { home, outDir });
    expect(server.namesOf('store').filter((name) => name === WEIGHTS)).toEqual([]);
    expect(await packedContents(outDir)).toBe(expected);
  });

  it('no network', async () => {
    const server = await start();
    await server.close();
    await expect(pack(server)).rejects.toMatchObject({
      reason: 'no-network',
      message: expect.stringMatching(/cannot reach http.*ECONNREFUSED.*HF_ENDPOINT/) as string,
    });
  });

  it('a disk too small for a file, before anything large moves', async () => {
    const server = await start();
    await expect(pack(server, REPO, { freeBytes: async () => 1e6 })).rejects.toMatchObject({ reason: 'disk-full' });
    // The headers were fetched.
    expect(server.requests.filter(({ kind, count }) => kind === 'store' && count > 1)).toEqual([]);
  });
});

describe('a repository that is no such model is refused by what it is', () => {
  it.each<[string, string[], RegExp]>([
    ['pickles', ['config.json', 'pytorch_model.bin'], /PyTorch pickles.*convert/],
    ['an adapter', ['adapter_config.json', 'adapter_model.safetensors'], /LoRA adapter.*merge it/],
    ['a diffusers pipeline', ['model_index.json', 'README.md'], /diffusers/],
    ['GGUF alone', ['model-Q4_K_M.gguf', 'config.json'], /GGUF files alone.*model-Q4_K_M\.gguf/],
    ['parts', ['modules.json', '0_Transformer/config.json'], /sentence-transformers/],
    ['no model at all', ['README.md'], /no config\.json/],
  ])('%s', async (_, names, message) => {
    const server = await start({ files: new Map(names.map((name) => [name, Buffer.from('{}')])) });
    await expect(pack(server)).rejects.toMatchObject({
      reason: 'bad-model',
      message: expect.stringMatching(message) as string,
    });
  });
});
