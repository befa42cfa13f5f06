import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Core, createCore } from '../../coordinator/src/index.ts';
import { GOLDEN } from '../integration/golden.ts';
import { type ChangedMatrix, writeLora, writeMixture } from '../integration/random-adapters.ts';
import { tinyConfig } from '../integration/tiny-coordinator.ts';
import type { HeldRow } from './table.ts';

const TOKENS = 64;
const RUNS = 15;

/** What a token of an answer costs without adapters, with one, and with a mixture of two, which makes a first pass for each. */
export async function measureMixtures(): Promise<HeldRow[]> {
  const adapterRoot = await mkdtemp(join(tmpdir(), 'shoal-mixtures-'));
  const core = await createCore(tinyConfig({ adapterRoot, localExpertBytes: 2 ** 30 }));
  try {
    const { hiddenSize, numHiddenLayers } = core.config;
    const matrices = Array.from({ length: numHiddenLayers }, (_, layer): ChangedMatrix[] => [
      [`model.layers.${layer}.self_attn.q_a_proj`, hiddenSize, 96],
      [`model.layers.${layer}.self_attn.o_proj`, 192, hiddenSize],
    ]).flat();
    await writeLora(join(adapterRoot, 'one'), matrices, 0.02, 1);
    await writeMixture(join(adapterRoot, 'mixture'), { hiddenSize, adapters: [matrices, matrices], noise: 0.02 });
    for (const name of ['one', 'mixture']) await core.adapters.load(name, join(adapterRoot, name));
    // In turns, so that a busy moment is not one kind's alone.
    const times = new Map<string, number[]>(['none', 'one', 'mixture'].map((name) => [name, []]));
    for (let run = 0; run <= RUNS; run++) {
      for (const [name, own] of times) {
        const ms = await msPerToken(core, name);
        if (run > 0) own.push(ms);
      }
    }
    // The least: what other programs take only adds.
    const [none, one, mixture] = [...times.values()].map((own) => Math.min(...own)) as [number, number, number];
    const ms = (value: number): string => `${value.toFixed(2)} ms`;
    return [
      { figure: 'a token without adapters (one stream, no drafts)', measured: ms(none), reference: '' },
      { figure: 'with an adapter', measured: ms(one), reference: `${(one / none).toFixed(2)} times without` },
      {
        figure: 'with a mixture of two',
        measured: `${ms(mixture)}, ${(mixture / none).toFixed(2)} times`,
        reference: 'two passes',
      },
    ];
  } finally {
    await core.close();
    await rm(adapterRoot, { recursive: true });
  }
}

/** Of an answer's tokens after the first. */
async function msPerToken({ scheduler, adapters }: Core, adapter: string): Promise<number> {
  const { signal } = new AbortController();
  const asked = { temperature: 0, topP: 1, seed: 1, maxTokens: TOKENS, ignoreEos: true, speculate: false, signal };
  const request = { id: adapter, promptIds: GOLDEN[0]!.prompt_ids, adapter: adapters.find(adapter), ...asked };
  let firstMs: number | undefined;
  let lastMs = 0;
  for await (const { type } of scheduler.submit(request)) {
    if (type !== 'token') continue;
    lastMs = performance.now();
    firstMs ??= lastMs;
  }
  return (lastMs - firstMs!) / (TOKENS - 1);
}
