import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { type FamilyReference, fixtureDir } from '../golden/families.ts';
import { answer } from '../integration/answers.ts';
import { Network } from './network.ts';

// Each family's small random checkpoint, served as downloaded: packed, its experts in two real tabs, its own attention and
// gate in the coordinator. The ids are the reference implementation's (test/golden/make/families).

let network: Network | undefined;
afterEach(async () => {
  await network?.stop();
  network = undefined;
});

// One model for each way in which tensors are stored and each kind of expert; what attention and gates differ in stays in the
// coordinator, where test/golden and test/integration look at it.
const MODELS = [
  { name: 'deepseek-v3-fp8', quant: 'f16', device: 'gpu' },
  { name: 'mixtral', quant: 'f16', device: 'gpu' },
  { name: 'qwen3-moe', quant: 'f16', device: 'cpu' },
  { name: 'gpt-oss-mxfp4', quant: 'mxfp4', device: 'gpu' },
  { name: 'gpt-oss-mxfp4', quant: 'mxfp4', device: 'cpu' },
] as const;

describe('model families: two tabs hold the experts', () => {
  it.each(MODELS)('of $name in $quant on the $device, and the greedy ids are the reference’s', async (model) => {
    const modelDir = fixtureDir(model.name);
    const { greedy } = JSON.parse(readFileSync(join(modelDir, 'reference.json'), 'utf8')) as FamilyReference;
    network = await Network.start({ modelDir, replicas: 1, quant: model.quant });
    await network.join(2, model.device);
    const { coordinator } = network;
    for (const { prompt_ids: prompt, ids } of greedy) {
      const said = await answer(coordinator, prompt, { maxTokens: ids.length });
      expect(said.ids).toEqual(ids);
    }
    // By the tabs: nothing was left to the coordinator.
    expect(coordinator.dispatcher.figures.tabAssignments).toBeGreaterThan(0);
    expect(coordinator.dispatcher.figures.fallbackAssignments).toBe(0);
  });
});
