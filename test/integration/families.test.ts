import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createCore, defaultConfig } from '../../coordinator/src/index.ts';
import { tabFixtures, fixtureDir, openFamily } from '../golden/families.ts';
import { answer } from './answers.ts';
import { covered, until, VirtualDonor } from './virtual-donor.ts';

let cacheDir: string;
beforeAll(async () => {
  cacheDir = await mkdtemp(join(tmpdir(), 'shoal-families-'));
});
afterAll(() => rm(cacheDir, { recursive: true }));

describe('every family, packed and served by peers over the memory transport', () => {
  it.each(tabFixtures)('%s answers with the reference’s ids, every expert in a tab', async (name) => {
    const { reference } = await openFamily(name);
    const core = await createCore(defaultConfig({ model: fixtureDir(name), quant: 'f16', cacheDir, replicas: 1 }));
    const donors: VirtualDonor[] = [];
    try {
      donors.push(...(await Promise.all([VirtualDonor.join(core), VirtualDonor.join(core)])));
      await until('all experts to be served', () => covered(core));
      for (const { prompt_ids: prompt, ids } of reference.greedy) {
        expect((await answer(core, prompt, { maxTokens: ids.length })).ids).toEqual(ids);
      }
      expect(core.dispatcher.figures.fallbackAssignments).toBe(0);
      expect(core.dispatcher.figures.tabAssignments).toBeGreaterThan(0);
    } finally {
      await core.close();
      await Promise.all(donors.map((donor) => donor.close()));
    }
  });
});
