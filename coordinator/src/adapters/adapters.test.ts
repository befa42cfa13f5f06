import { type Adapter, AdapterError } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { AdapterChooser } from './adapter-chooser.ts';
import { Adapters } from './adapters.ts';

const MEMORY_BYTES = 1000;

/** Adapters whose source is their size; `freed` are those whose memory the engine got back. */
function rig() {
  const freed: number[] = [];
  const notes: string[] = [];
  const held: (() => void)[] = [];
  let holds = false;
  const adapters = new Adapters({
    read: async (source, maxBytes) => {
      if (holds) await new Promise<void>((resolve) => held.push(resolve));
      const bytes = Number(source);
      if (bytes > maxBytes) throw new AdapterError('too-large', `the adapter takes ${bytes} bytes`);
      if (!(bytes > 0)) throw new AdapterError('bad-value', 'no size');
      const adapter: Adapter = { layers: [], experts: new Map(), maxRank: 1, bytes, expertBytes: 0 };
      const about = { description: '', examples: [] };
      return { adapter, about, baseModel: bytes % 2 === 0 ? 'org/Base-Model/' : '/home/me/other' };
    },
    chooser: new AdapterChooser({ encode: () => [], tokenEmbedding: () => new Float32Array(1), threshold: 0 }),
    open: ({ bytes }) => ({ bytes, free: () => freed.push(bytes) }),
    memoryBytes: MEMORY_BYTES,
    modelNames: ['base-model', 'alias'],
    onChange: (text, level) => notes.push(`${level}: ${text}`),
  });
  return {
    adapters,
    freed,
    notes,
    hold: () => (holds = true),
    goOn: () => {
      holds = false;
      for (const resolve of held.splice(0)) resolve();
    },
  };
}

describe('Adapters', () => {
  it('free an adapter once it is unloaded and its last answer has ended, and only once', async () => {
    const { adapters, freed } = rig();
    const one = await adapters.load('one', '100');
    const [first, second] = [one.retain()!, one.retain()!];
    adapters.unload('one');
    expect(adapters.find('one')).toBeUndefined();
    expect(one.retain()).toBeUndefined();
    first();
    first();
    expect([freed, adapters.bytes]).toEqual([[], 100]);
    second();
    one.retire();
    expect([freed, adapters.bytes]).toEqual([[100], 0]);
  });

  it('have another id at each load, and replace one of the same name only if asked', async () => {
    const { adapters, freed } = rig();
    const one = await adapters.load('one', '100');
    await expect(adapters.load('one', '200')).rejects.toMatchObject({ reason: 'name-taken' });
    const other = await adapters.load('one', '200', { replaces: true });
    expect(other.id).not.toBe(one.id);
    expect(adapters.find('one')).toBe(other);
    expect([freed, adapters.bytes]).toEqual([[100], 200]);
  });

  it('count what unloaded ones still take, and say how room is made', async () => {
    const { adapters } = rig();
    const release = (await adapters.load('one', '700')).retain()!;
    adapters.unload('one');
    await expect(adapters.load('two', '400')).rejects.toThrow(/700 of 1000 bytes of --adapter-memory are used.*unload/);
    release();
    expect((await adapters.load('two', '400')).name).toBe('two');
  });

  it.each([
    ['', 'bad-name'],
    ['two words', 'bad-name'],
    ['x'.repeat(129), 'bad-name'],
    ['base-model', 'name-taken'],
    ['alias', 'name-taken'],
    ['auto', 'name-taken'],
  ])('refuse the name "%s"', async (name, reason) => {
    await expect(rig().adapters.load(name, '100')).rejects.toMatchObject({ reason });
  });

  it('load one at a time, refuse more than a few that wait, and go on after one that fails', async () => {
    const { adapters, hold, goOn } = rig();
    hold();
    const loads = Array.from({ length: 16 }, (_, i) => adapters.load(`a${i}`, i === 0 ? '0' : '10'));
    await expect(adapters.load('late', '10')).rejects.toMatchObject({ reason: 'busy' });
    // Of two with one name, the later fails when its turn comes.
    const settled = Promise.allSettled(loads);
    await new Promise((resolve) => setImmediate(resolve));
    goOn();
    expect((await settled).map(({ status }) => status)).toEqual(['rejected', ...Array<string>(15).fill('fulfilled')]);
    expect((await adapters.load('late', '10')).name).toBe('late');
  });

  it('warn of an adapter that names another base model, and ignore the owner and folders in that name', async () => {
    const { adapters, notes } = rig();
    await adapters.load('own', '100');
    expect(notes.filter((note) => note.startsWith('warning'))).toEqual([]);
    await adapters.load('others', '101');
    expect(notes.at(-1)).toMatch(/^warning: .*others was trained on \/home\/me\/other/);
    expect(() => adapters.unload('nobody')).toThrow(/no adapter named "nobody"/);
  });
});
