import { setTimeout as sleep } from 'node:timers/promises';
import { createRng } from '@shoal/model';
import { afterEach, expect, it } from 'vitest';
import { type Core, createCore } from '../../coordinator/src/index.ts';
import { collector } from '../collect.ts';
import { answer } from './answers.ts';
import { covered, until, VirtualDonor } from './virtual-donor.ts';
import { tinyConfig } from './tiny-coordinator.ts';

/** A hundred pages and some, soon full of what past requests began with. */
const KV_BYTES = 2 * 2 ** 20;
const STREAMS = 4;
const PROMPT_TOKENS = 20;
const ANSWER_TOKENS = 24;
/** Code is compiled then, and windows of samples are full. */
const WARM_UP_LAPS = 3_000;
const LAPS = 3_000;
/** A frame of one row, kept, would be 400 and more; measured were 43, most of it laps that are remembered (4,096 of each tab). */
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
    // Twice: what is finalized in the first lets go of more.
    for (let i = 0; i < 2; i++) {
      await sleep(50);
      collect();
    }
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  };
  // Answers take more laps on a busy machine, where two micro-batches are in flight: laps alone don't tell that the cache is full.
  await answerUntil(() => core.dispatcher.figures.laps >= WARM_UP_LAPS && core.scheduler.kvBytesKept > 0.9 * KV_BYTES);
  let grownPerLap = Number.POSITIVE_INFINITY;
  // A leak shows in every window; what the collector happens to leave (half a megabyte either way) hardly shows in three.
  for (let window = 0; window < 3 && grownPerLap >= KEPT_BYTES_PER_LAP; window++) {
    const [before, lapsBefore] = [await kept(), core.dispatcher.figures.laps];
    await answerUntil(() => core.dispatcher.figures.laps >= lapsBefore + LAPS);
    grownPerLap = ((await kept()) - before) / (core.dispatcher.figures.laps - lapsBefore);
  }
  expect(grownPerLap).toBeLessThan(KEPT_BYTES_PER_LAP);
  expect(core.scheduler.kvBytesKept).toBeLessThanOrEqual(KV_BYTES);
});
