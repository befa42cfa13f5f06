import { setTimeout as sleep } from 'node:timers/promises';
import { createRng } from '@shoal/model';
import { afterEach, expect, it } from 'vitest';
import { type Core, createCore } from '../../coordinator/src/index.ts';
import { collector } from '../collect.ts';
import { answer } from './answers.ts';
import { covered, until, VirtualDonor } from './virtual-donor.ts';
import { tinyConfig } from './tiny-coordinator.ts';

/** A little over a hundred pages, soon full of prefixes of past requests. */
const KV_BYTES = 2 * 2 ** 20;
const STREAMS = 4;
const PROMPT_TOKENS = 20;
const ANSWER_TOKENS = 24;
/** By then code is compiled, and sample windows are full. */
const WARM_UP_LAPS = 3_000;
const LAPS = 3_000;
/** A leaked one-row frame would be over 400; 43 were measured, most of it for remembered laps (4,096 per tab). */
const KEPT_BYTES_PER_LAP = 100;

let core: Core;
let donors: VirtualDonor[] = [];

afterEach(async () => {
  await core.close();
  await Promise.all(donors.map((donor) => donor.close()));
  donors = [];
});

it('memory: a coordinator and its tabs keep nothing of their laps once the KV cache is full', async () => {
  core = await createCore(
    tinyConfig({
      replicas: 2,
      kvMemoryBytes: KV_BYTES,
      speculate: 'off',
    }),
  );
  donors = await Promise.all([VirtualDonor.join(core), VirtualDonor.join(core)]);
  await until('all experts to be served', () => covered(core));
  const rng = createRng(5);
  const tokenId = (): number => 4 + Math.floor(rng() * (core.config.vocabSize - 8));
  const answerUntil = async (isEnough: () => boolean): Promise<void> => {
    const stream = async (): Promise<void> => {
      while (!isEnough()) {
        const promptIds = Array.from({ length: PROMPT_TOKENS }, tokenId);
        await answer(core, promptIds, { maxTokens: ANSWER_TOKENS, temperature: 0.8 });
      }
    };
    await Promise.all(Array.from({ length: STREAMS }, stream));
  };
  const collect = collector();
  const kept = async (): Promise<number> => {
    // Twice: finalizers of the first run release more.
    for (let i = 0; i < 2; i++) {
      await sleep(50);
      collect();
    }
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  };
  // On a busy machine two micro-batches take more laps for an answer, so laps alone don't show that the cache is full.
  await answerUntil(() => core.dispatcher.figures.laps >= WARM_UP_LAPS && core.scheduler.kvBytesKept > 0.9 * KV_BYTES);
  let grownPerLap = Number.POSITIVE_INFINITY;
  // A leak shows in every window; the collector's own variation (half a megabyte either way) hardly shows in three.
  for (let window = 0; window < 3 && grownPerLap >= KEPT_BYTES_PER_LAP; window++) {
    const [before, lapsBefore] = [await kept(), core.dispatcher.figures.laps];
    await answerUntil(() => core.dispatcher.figures.laps >= lapsBefore + LAPS);
    grownPerLap = ((await kept()) - before) / (core.dispatcher.figures.laps - lapsBefore);
  }
  expect(grownPerLap).toBeLessThan(KEPT_BYTES_PER_LAP);
  expect(core.scheduler.kvBytesKept).toBeLessThanOrEqual(KV_BYTES);
});
