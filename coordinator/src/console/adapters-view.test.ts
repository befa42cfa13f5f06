import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AdapterError } from '@shoal/model';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AdapterChooser } from '../adapters/adapter-chooser.ts';
import { Adapters } from '../adapters/adapters.ts';
import { adaptersView, runAdapterCommand } from './adapters-view.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'shoal-adapters-view-'));
  for (const folder of ['ships', 'broken']) await mkdir(join(root, folder));
});
afterEach(() => rm(root, { recursive: true }));

/** An adapter of 100 bytes in each folder but `broken`. */
function rig({ memoryBytes = 1000 } = {}) {
  let goOn = Promise.resolve();
  const adapters = new Adapters({
    read: async (source) => {
      await goOn;
      if (source.endsWith('broken')) throw new AdapterError('bad-value', 'lora_A has NaN');
      const experts = new Map([[3, new Map()]]);
      const adapter = { layers: [{}, {}], experts, maxRank: 4, bytes: 100, expertBytes: 0 };
      return { adapter, baseModel: null, about: { description: 'Ships', examples: [] } };
    },
    chooser: new AdapterChooser({ encode: () => [], tokenEmbedding: () => new Float32Array(1), threshold: 0 }),
    open: ({ bytes }) => ({ bytes, free: () => {} }),
    memoryBytes,
    modelNames: ['base'],
  });
  const hold = (): (() => void) => {
    let resolve = (): void => {};
    goOn = new Promise((done) => (resolve = done));
    return resolve;
  };
  return { adapters, hold };
}

const load = (name: string, path: string, more: object = {}) => {
  return { command: 'load-adapter' as const, name, path, ...more };
};

describe('adapters in the console', () => {
  it('are shown while they load and once they are loaded, with what an operator asks of them', async () => {
    const { adapters, hold } = rig();
    const goOn = hold();
    const loading = runAdapterCommand(load('one', 'ships', { description: 'Mine' }), { adapters, adapterRoot: root });
    await expect.poll(() => adapters.loads.length).toBe(1);
    const view = () => adaptersView({ adapters, adapterRoot: root });
    expect(view()).toMatchObject({ loaded: [], loading: [{ name: 'one', source: 'ships' }], takesMore: true });
    goOn();
    expect(await loading).toEqual({ ok: true });
    const release = adapters.find('one')!.retain()!;
    const one = { name: 'one', source: 'ships', description: 'Mine', rank: 4, denseLayers: 0, expertLayers: 1 };
    expect(view()).toMatchObject({
      loaded: [{ ...one, bytes: 100, requests: 1 }],
      loading: [],
      bytes: 100,
      memoryBytes: 1000,
    });
    release();
    const unload = { command: 'unload-adapter' as const, name: 'one' };
    expect(await runAdapterCommand(unload, { adapters, adapterRoot: root })).toEqual({ ok: true });
    expect(view()).toMatchObject({ loaded: [], bytes: 0 });
  });

  it('that cannot be loaded or unloaded are told as they are', async () => {
    const { adapters } = rig();
    const why = async (command: Parameters<typeof runAdapterCommand>[0], adapterRoot: string | undefined = root) =>
      (await runAdapterCommand(command, { adapters, adapterRoot })) as { message: string };
    expect((await why(load('one', 'broken'))).message).toBe('lora_A has NaN.');
    expect((await why(load('one', '..'))).message).toMatch(/--adapter-dir/);
    expect((await why(load('base', 'ships'))).message).toMatch(/name of the model/);
    expect((await why({ command: 'unload-adapter', name: 'one' })).message).toMatch(/no adapter named "one"/);
    const bare = await runAdapterCommand(load('one', 'ships'), { adapters, adapterRoot: undefined });
    expect(bare).toMatchObject({ ok: false, message: expect.stringMatching(/Start it with --adapter-dir/) });
  });

  it('are not shown where there can be none', () => {
    expect(adaptersView({ ...rig({ memoryBytes: 0 }), adapterRoot: undefined })).toBeNull();
  });
});
