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

describe('model families: two tabs hold the experts of', () => {
  it.each(['deepseek-v2-lite', 'deepseek-v3-fp8', 'qwen3-moe', 'mixtral'])(
    '%s, and the greedy ids are the reference’s',
    async (name) => {
      await expectReferenceIds(name, { quant: 'f16' });
    },
  );

  // Clamped SwiGLU with biases, on the checkpoint's own codes; on the GPU and, in a browser without WebGPU, on the processor.
  it.each(['gpu', 'cpu'] as const)('gpt-oss in MXFP4 (%s), and the greedy ids are the reference’s', async (device) => {
    await expectReferenceIds('gpt-oss-mxfp4', { quant: 'mxfp4', webGpu: device === 'gpu' }, device);
    expect(network!.coordinator.packed.manifest.shape).toMatchObject({
      quant: 'mxfp4',
      activation: 'clamped-swiglu',
      bias: true,
    });
  });
});

async function expectReferenceIds(
  name: string,
  options: { quant: 'f16' | 'mxfp4'; webGpu?: boolean },
  device: 'gpu' | 'cpu' = 'gpu',
): Promise<void> {
  const modelDir = fixtureDir(name);
  const { greedy } = JSON.parse(readFileSync(join(modelDir, 'reference.json'), 'utf8')) as FamilyReference;
  network = await Network.start({ modelDir, replicas: 1, ...options });
  await network.join(2, device);
  const { coordinator } = network;
  for (const { prompt_ids: prompt, ids } of greedy) {
    const said = await answer(coordinator, prompt, { maxTokens: ids.length });
    expect(said.ids).toEqual(ids);
  }
  // By the tabs: nothing was left to the coordinator.
  expect(coordinator.dispatcher.figures.tabAssignments).toBeGreaterThan(0);
  expect(coordinator.dispatcher.figures.fallbackAssignments).toBe(0);
}
