import { mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Quarantine } from './quarantine.ts';
import { keepQuarantines } from './quarantine-file.ts';

const liar = { donorId: 'd1', address: '192.0.2.1' };

let folder: string;
let path: string;
let warnings: string[];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shoal-quarantine-'));
  path = join(folder, 'state', 'quarantine.json');
  warnings = [];
});
afterEach(() => rm(folder, { recursive: true }));

/** A run of a coordinator; `during` is what happens in it. */
async function run(during: (quarantine: Quarantine) => void = () => {}, file = path): Promise<Quarantine> {
  const quarantine = new Quarantine();
  const kept = await keepQuarantines(file, { quarantine, warn });
  during(quarantine);
  await kept.close();
  return quarantine;
}

const warn = (text: string): void => void warnings.push(text);

describe('keepQuarantines', () => {
  it('keeps a liar and its address out of the next run, in a file for its owner alone', async () => {
    await run((quarantine) => {
      for (const donorId of ['d1', 'd2', 'd3']) quarantine.add({ ...liar, donorId });
    });
    const after = await run();
    expect(after.until({ ...liar, address: '127.0.0.1' })).toBeGreaterThan(Date.now());
    expect(after.until({ donorId: 'neighbour', address: liar.address })).toBeGreaterThan(Date.now());
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await readdir(join(path, '..'))).toEqual(['quarantine.json']);
    expect(warnings).toEqual([]);
  });

  it('writes nothing while nobody is caught', async () => {
    await run();
    await expect(stat(path)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('keeps as many as are remembered', async () => {
    await run((quarantine) => {
      for (let i = 0; i < 25_000; i++)
        quarantine.add({ donorId: i.toString(16).padStart(64, '0'), address: '127.0.0.1' });
    });
    expect((await run()).size).toBe(20_000);
    expect(warnings).toEqual([]);
  });

  const entry = { key: 'donor d1', failures: 1, at: 1, until: 2 };
  it.each<[string, string, string]>([
    ['text', 'no JSON', 'JSON'],
    ['a file that was cut', '{"version":1,"entries":[{"key":"donor d', 'JSON'],
    ['another version', JSON.stringify({ version: 2, entries: [] }), 'version'],
    ['a key that is none', JSON.stringify({ version: 1, entries: [{ ...entry, key: 'x' }] }), 'entries.0.key'],
    [
      'a number that is none',
      JSON.stringify({ version: 1, entries: [{ ...entry, until: 'soon' }] }),
      'entries.0.until',
    ],
    [
      'too many entries',
      JSON.stringify({ version: 1, entries: Array.from({ length: 20_001 }, () => entry) }),
      'entries',
    ],
  ])('moves a file aside that cannot be used, and says so: %s', async (_, text, why) => {
    await run((quarantine) => quarantine.add(liar));
    await writeFile(path, text);
    const quarantine = await run((next) => next.add({ ...liar, donorId: 'd2' }));
    expect(quarantine.until(liar)).toBeUndefined();
    expect(warnings).toEqual([expect.stringMatching(new RegExp(`^${path} keeps no .*${why}.* moved to ${path}.bad`))]);
    expect(await readFile(`${path}.bad`, 'utf8')).toBe(text);
    expect((await run()).until({ ...liar, donorId: 'd2' })).toBeDefined();
  });

  it('reads no file that is larger than any it writes', async () => {
    await run((quarantine) => quarantine.add(liar));
    await truncate(path, 8 * 1024 * 1024 + 1);
    expect((await run()).size).toBe(0);
    expect(warnings).toEqual([expect.stringContaining('more than 8388608')]);
  });

  it('works without a file that can be written, and says so once', async () => {
    await writeFile(join(folder, 'file'), '');
    const nowhere = join(folder, 'file', 'quarantine.json');
    const quarantine = new Quarantine();
    const kept = await keepQuarantines(nowhere, { quarantine, warn });
    expect(warnings).toHaveLength(1);
    for (let time = 0; time < 2; time++) {
      quarantine.add(liar);
      await kept.close();
    }
    expect(quarantine.until(liar)).toBeDefined();
    expect(warnings).toEqual([
      expect.stringMatching(/^Quarantines will not outlast a restart \(E[A-Z]+: .*\. Give .*--state FILE\.$/),
    ]);
  });
});
