import { argmax, type ForwardEngine } from '@shoal/model';
import { openWasmEngine } from '@shoal/kernels/node';
import { openCheckpoint } from '@shoal/model/node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  denseFixtures,
  familyFixtures,
  fixtureDir,
  inChunks,
  mtpFixtures,
  openFamily,
  ragged,
  runFamily,
  runMtp,
  type Family,
} from './families.ts';
import { nmse } from './tiny-stories.ts';

/** The fast engine with f16 weights and a 16-bit cache, on one thread and on two. */
describe.each(familyFixtures)('%s on the wasm engine', (name) => {
  let family: Family;
  let engines: ForwardEngine[];
  beforeAll(async () => {
    family = await openFamily(name);
    const checkpoint = await openCheckpoint(fixtureDir(name));
    const weights = { reader: checkpoint, format: 'f16' as const };
    engines = [];
    for (const threads of [1, 2]) engines.push(await openWasmEngine({ config: family.config, weights, threads }));
    await checkpoint.close();
  });
  afterAll(() => Promise.all(engines.map((engine) => engine.close())));

  it('has the reference’s logits (NMSE ≤ 1e-5), and one result for every schedule and number of threads', async () => {
    const [one, two] = engines;
    const whole = await runFamily(family, inChunks(family, 128), one);
    expect(nmse(whole.logits, family.logits)).toBeLessThanOrEqual(1e-5);
    if (!denseFixtures.includes(name)) expect(nmse(whole.weights, family.weights)).toBeLessThanOrEqual(1e-5);
    // No choice in the fixture is so close that f16 could decide otherwise.
    expect(whole.chosen.findIndex((expert, i) => expert !== family.chosen[i])).toBe(-1);
    // The ragged one ends with passes of one row.
    const schedules = [inChunks(family, 7), ragged(family)];
    for (const schedule of schedules) {
      const run = await runFamily(family, schedule, two);
      expect(run.logits.findIndex((value, i) => !Object.is(value, whole.logits[i]))).toBe(-1);
      expect(run.weights.findIndex((value, i) => !Object.is(value, whole.weights[i]))).toBe(-1);
    }
  });

  if (mtpFixtures.includes(name))
    it('has the reference’s MTP module (NMSE ≤ 1e-5)', async () => {
      expect(nmse(await runMtp(family, engines[1]!), family.mtpLogits!)).toBeLessThanOrEqual(1e-5);
    });

  it('continues prompts greedily with the reference’s ids', async () => {
    const { experts, reference } = family;
    const engine = engines[1]!;
    for (const { prompt_ids: prompt, ids } of reference.greedy) {
      const cache = engine.newSequence();
      const row = (tokenId: number, i: number) => ({ tokenId, position: i, cache, wantLogits: true });
      let { logits } = await engine.forward(prompt.map(row), experts);
      const answer: number[] = [];
      while (answer.length < ids.length) {
        answer.push(argmax(logits.at(-1)!));
        ({ logits } = await engine.forward([row(answer.at(-1)!, cache.length)], experts));
      }
      expect(answer).toEqual(ids);
      cache.free();
    }
  });
});
