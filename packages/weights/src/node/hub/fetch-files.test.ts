import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FakeHub, REPO } from '../../testing/fake-hub.ts';
import { fetchHubFiles } from './fetch-files.ts';

const FILES = {
  'adapter_config.json': '{"r": 2}',
  'adapter_model.safetensors': 'x'.repeat(5000),
  'optimizer.pt': 'state',
  'style/adapter_config.json': '{"r": 3}',
  'style/notes.txt': 'notes',
};
const wanted = (...names: string[]) => ({ names, maxBytes: 10_000 });
const WANTED = [wanted('adapter_config.json'), wanted('model.safetensors', 'adapter_model.safetensors')];
const FETCHED = ['adapter_config.json', 'adapter_model.safetensors'];

let home: string;
let hub: FakeHub;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'shoal-hub-files-'));
  hub = await FakeHub.start({ files: new Map(Object.entries(FILES).map(([name, text]) => [name, Buffer.from(text)])) });
});
afterEach(async () => {
  await hub.close();
  await rm(home, { recursive: true });
});

describe('fetchHubFiles', () => {
  it('fetches these files alone, small and large, and asks nothing more when they are there', async () => {
    const env = { ...hub.env, HF_HOME: home };
    const dir = await fetchHubFiles(REPO, WANTED, { env });
    for (const name of FETCHED) {
      expect(await readFile(join(dir, name), 'utf8')).toBe(FILES[name as keyof typeof FILES]);
    }
    expect(new Set(hub.namesOf('resolve'))).toEqual(new Set(FETCHED));
    const asked = hub.requests.length;
    expect(await fetchHubFiles(REPO, WANTED, { env, offline: true })).toBe(dir);
    expect(hub.requests).toHaveLength(asked);
  });

  it('fetches from folders what the first files ask for, of several names the first that is there', async () => {
    const env = { ...hub.env, HF_HOME: home };
    const more = async (dir: string) => {
      expect(await readFile(join(dir, 'adapter_config.json'), 'utf8')).toBe(FILES['adapter_config.json']);
      const names = ['nowhere/adapter_config.json', '../adapter_config.json', 'style/adapter_config.json'];
      return [{ names, maxBytes: 100 }];
    };
    const dir = await fetchHubFiles(REPO, WANTED, { env }, more);
    expect(await readFile(join(dir, 'style/adapter_config.json'), 'utf8')).toBe('{"r": 3}');
    const asked = hub.requests.length;
    expect(await fetchHubFiles(REPO, WANTED, { env, offline: true }, more)).toBe(dir);
    expect(hub.requests).toHaveLength(asked);
    const missing = fetchHubFiles(REPO, WANTED, { env }, () => Promise.resolve([wanted('a/x.json', 'style/y.json')]));
    await expect(missing).rejects.toThrow(/has no a\/x.json and no style\/y.json/);
  });

  it('refuses by name what is missing, too large, or not here without a connection', async () => {
    const env = { ...hub.env, HF_HOME: home };
    const fetched = (files: typeof WANTED, offline = false): Promise<string> =>
      fetchHubFiles(REPO, files, { env, offline });
    await expect(fetched(WANTED, true)).rejects.toThrow(/cannot be found in the cache/);
    await expect(fetched([{ names: ['nothing.json'], maxBytes: 1 }])).rejects.toThrow(/has no nothing.json/);
    await expect(fetched([{ names: ['adapter_config.json'], maxBytes: 3 }])).rejects.toThrow(
      /has 8 bytes, more than 3/,
    );
  });
});
