import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { FakeHub, REPO, splitModel } from '../../testing/fake-hub.ts';
import { writeSmallModel } from '../../testing/small-model.ts';
import { packModel } from '../pack-model.ts';
import type { HubSource } from '../source/hub-source.ts';
import { openSource } from '../source/open-source.ts';

const folder = await mkdtemp(join(tmpdir(), 'shoal-commits-'));
afterAll(() => rm(folder, { recursive: true, force: true }));
const modelDir = join(folder, 'model');
await writeSmallModel(modelDir);
const files = await splitModel(modelDir, 2);
const WEIGHTS = 'model-00002-of-00002.safetensors';

/** A hub, and how it is opened with a cache of its own. */
async function start() {
  const hub = await FakeHub.start({ files });
  const env = { ...hub.env, HF_HOME: await mkdtemp(join(folder, 'home-')) };
  const open = async (offline = false): Promise<HubSource> =>
    (await openSource(REPO, { env, offline, patience: { tries: 2, fileTries: 2, delayMs: 1 } })) as HubSource;
  const pack = async (source: HubSource) =>
    packModel({ source, outDir: join(env.HF_HOME, 'out'), quant: 'q8', threads: 0 });
  const requests = (): string[] => [...new Set(hub.requests.splice(0).map(({ kind }) => kind))];
  return { hub, open, pack, requests };
}

it('a model stays what it is when a commit changes a README alone, and is another when one changes weights', async () => {
  const { hub, open, pack, requests } = await start();
  try {
    const manifest = await pack(await open());
    await (await (await open()).open()).close();
    requests();
    hub.options.commit = 'b'.repeat(40);
    hub.options.files = new Map([...files, ['README.md', Buffer.from('A better one.')]]);
    expect(await pack(await open())).toEqual(manifest);
    expect(requests()).toEqual(['info', 'tree']);
    expect(await pack(await open(true))).toEqual(manifest);
    // The weights lie in the cache as those of the commit before.
    await (await (await open(true)).open()).close();
    expect(requests()).toEqual([]);
    const altered = Buffer.from(files.get(WEIGHTS)!);
    altered[altered.byteLength - 1]! ^= 1;
    hub.options.commit = 'c'.repeat(40);
    hub.options.files = new Map([...files, [WEIGHTS, altered]]);
    expect(await (await open()).fingerprint()).not.toBe(manifest.sourceFingerprint);
  } finally {
    await hub.close();
  }
});

it('what was fetched before a commit that changes a README alone is gone on with', async () => {
  const { hub, open, pack } = await start();
  try {
    hub.options.fault = ({ kind, name, count }, response) => {
      // The first request is for the header.
      if (kind !== 'store' || name !== WEIGHTS || count === 1) return false;
      response.destroy();
      return true;
    };
    await expect(pack(await open())).rejects.toMatchObject({ reason: 'no-network' });
    hub.requests.splice(0);
    hub.options.fault = undefined;
    hub.options.commit = 'b'.repeat(40);
    await pack(await open());
    // Neither headers nor the first file again.
    expect(hub.namesOf('store').filter((name) => name.endsWith('.safetensors'))).toEqual([WEIGHTS]);
  } finally {
    await hub.close();
  }
});

it('a model needs no network for what is in the cache, and what is not is named with the reason', async () => {
  const { hub, open, pack } = await start();
  const weights = await (await open()).weights();
  await hub.close();
  const source = await open();
  expect([await source.weights(), (await source.config()).hiddenSize]).toEqual([weights, 24]);
  await expect(pack(source)).rejects.toMatchObject({
    reason: 'offline',
    message: expect.stringMatching(
      /all weights of .*in the cache.*cannot reach .*run once with a connection/,
    ) as string,
  });
  await expect(pack(await open(true))).rejects.toThrow(/all weights of .*--offline, or HF_HUB_OFFLINE/);
});

it('a path with a slip in it, which looks like a name, is told apart before the hub is asked, and in the error', async () => {
  const { hub } = await start();
  const env = { ...hub.env, HF_HOME: folder };
  const notices: string[] = [];
  const open = (name: string) =>
    openSource(name, { env, patience: { tries: 1 }, onNotice: (text) => notices.push(text) });
  try {
    const reject = (name: string, reason: string) =>
      expect(open(name)).rejects.toMatchObject({
        reason,
        message: expect.stringMatching(
          /; there is no directory or file \/.*\/(packages\/wieghts|no-org\/none) either$/,
        ) as string,
      });
    await reject('packages/wieghts', 'no-model');
    expect(notices).toEqual([expect.stringMatching(/^there is no directory or file .*\/packages\/wieghts, so/)]);
    await reject('no-org/none', 'no-model');
    await hub.close();
    await reject('no-org/none', 'no-network');
    expect(notices).toHaveLength(1);
  } finally {
    await hub.close();
  }
});
