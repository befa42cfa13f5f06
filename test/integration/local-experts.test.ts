import { type EngineMtpRow, forwardMtp, KvCache } from '@shoal/model';
import { Registry } from 'prom-client';
import { afterEach, describe, expect, it } from 'vitest';
import { Access } from '../../coordinator/src/access/access.ts';
import { registerMetrics } from '../../coordinator/src/console/metrics.ts';
import { SnapshotBuilder } from '../../coordinator/src/console/snapshot.ts';
import { type Config, type Core, type CoreHooks, createCore } from '../../coordinator/src/index.ts';
import { nmse, openTinyStories, prefill } from '../golden/tiny-stories.ts';
import { answer } from './answers.ts';
import { GOLDEN } from './golden.ts';
import { newMtpCache } from './own-pages.ts';
import { covered, until, VirtualDonor } from './virtual-donor.ts';
import { tinyConfig } from './tiny-coordinator.ts';

/** Of the default model at f16: 32 experts of 73,728 B. */
const LAYER_BYTES = 32 * 73_728;

let core: Core;
let donors: VirtualDonor[] = [];

async function start(options: Partial<Config>, tabs: number, hooks?: CoreHooks): Promise<void> {
  core = await createCore(tinyConfig({ replicas: 1, ...options }), hooks);
  donors = await Promise.all(Array.from({ length: tabs }, () => VirtualDonor.join(core)));
  if (tabs > 0) await until('all experts to be served', () => covered(core));
}

afterEach(async () => {
  await core.close();
  await Promise.all(donors.map((donor) => donor.close()));
});

/** The figures of /metrics and the console. */
async function expectFigures(): Promise<void> {
  const registry = new Registry();
  registerMetrics(registry, { ...core, access: new Access({}) });
  const metrics = await registry.metrics();
  const { tabAssignments, localLayerAssignments } = core.dispatcher.figures;
  for (const line of [
    `shoal_expert_rows_total{by="tab"} ${tabAssignments}`,
    'shoal_expert_rows_total{by="coordinator"} 0',
    `shoal_expert_rows_total{by="resident"} ${localLayerAssignments}`,
    'shoal_resident_layers 2',
    `shoal_resident_expert_bytes ${3 * LAYER_BYTES}`,
    // 16-bit latents of 64 + 16 values in six layers; plain attention has six heads of 32 + 32 instead.
    'shoal_kv_bytes_per_token 972',
    'shoal_kv_bytes_per_token_mha 4620',
  ])
    expect(metrics.split('\n')).toContain(line);
  const snapshots = new SnapshotBuilder({
    ...core,
    version: '0',
    quant: 'f16',
    isDraining: () => false,
    attention: () => [],
  });
  const { flow, verdict } = snapshots.build();
  expect(flow).toMatchObject({ kvBytesPerToken: 972, mhaBytesPerToken: 4620, floorLapsPerToken: 3 });
  // Three laps a pass; accepted drafts make fewer passes than tokens.
  expect(flow.lapsPerToken).toBeCloseTo(3 * core.scheduler.passesPerToken!);
  expect(flow.lapsPerToken).toBeLessThanOrEqual(3);
  expect(flow).toMatchObject({ tabShare: 0.6, uncoveredWork: 0, localLayers: { layers: [1, 2], share: 0.4 } });
  expect(flow.timeSplitMs.localLayers).toBeGreaterThan(0);
  expect(verdict.text).toContain('except those of 2 layers that the coordinator holds');
}

describe('--local-experts: local layers, in the coordinator’s memory,', () => {
  it('make no lap, are on no tab, count apart, and answer as tabs do', async () => {
    const progress: number[] = [];
    // The MTP module takes the first of three.
    await start({ localExpertBytes: 3 * LAYER_BYTES + 1 }, 1, {
      onLoadProgress: ({ doneBytes }) => progress.push(doneBytes),
    });
    expect(core.localLayers).toMatchObject({ layers: [1, 2], mtp: 'local', bytes: 3 * LAYER_BYTES });
    expect(progress[0]).toBe(0);
    expect(progress.at(-1)).toBe(3 * LAYER_BYTES);
    expect(core.swarm.model.layers).toEqual([3, 4, 5]);
    expect(core.swarm.uncovered()).toBe(0);
    const golden = GOLDEN[3]!;
    const { ids, events } = await answer(core, golden.prompt_ids, { trace: true, maxTokens: 16 });
    expect(ids).toEqual(golden.greedy_ids.slice(0, 16));
    const traces = events.flatMap((event) => (event.type === 'token' && event.token.trace) || []);
    expect(traces).toHaveLength(5 * ids.length);
    for (const { layer, resident, experts } of traces) {
      expect(resident).toBe(layer <= 2 ? true : undefined);
      expect(experts.every(({ peerId }) => (peerId === null) === layer <= 2)).toBe(true);
    }
    const { dispatcher, scheduler } = core;
    expect(dispatcher.figures.laps).toBe(3 * scheduler.passes);
    expect(dispatcher.figures.fallbackAssignments).toBe(0);
    expect(dispatcher.figures.localLayerAssignments).toBe(scheduler.rows * 2 * core.config.numExpertsPerTok);
    expect(dispatcher.figures.tabAssignments).toBe(scheduler.rows * 3 * core.config.numExpertsPerTok);
    for (const donor of donors) expect(donor.session.liveLayers().every((layer) => layer > 2)).toBe(true);
    await expectFigures();
  });

  it('may be all of them: no tab has anything to do, and every answer is its own', async () => {
    await start({ localExpertBytes: 2 ** 30 }, 0);
    donors = [await VirtualDonor.join(core)];
    await until('the tab to wait', () => donors[0]!.session.state === 'waiting');
    const golden = GOLDEN[3]!;
    const { ids } = await answer(core, golden.prompt_ids, { maxTokens: 16 });
    expect(ids).toEqual(golden.greedy_ids.slice(0, 16));
    expect(core.dispatcher.figures).toMatchObject({ laps: 0, tabAssignments: 0, fallbackAssignments: 0 });
    expect(core.swarm.uncovered()).toBe(0);
  });

  it('are refused by name where they are less than one', async () => {
    await expect(start({ localExpertBytes: 1000 }, 0)).rejects.toThrow(/--local-experts .* 2359296 bytes/);
  });
});

describe('MTP drafter: the module’s experts on tabs', () => {
  it('are one more layer of theirs, and give the reference’s logits', async () => {
    await start({ mtpExperts: 'tabs' }, 1);
    expect(core.swarm.model.layers).toEqual([1, 2, 3, 4, 5, 6]);
    const tiny = await openTinyStories();
    const ids = GOLDEN[0]!.prompt_ids;
    const { hiddenSize } = core.config;
    const { hidden } = await prefill(tiny, ids, new KvCache(tiny.model.config));
    const rows = ids.slice(1).map((nextTokenId, position): Omit<EngineMtpRow, 'cache'> => {
      const row = hidden.slice(position * hiddenSize, (position + 1) * hiddenSize);
      return { hidden: row, nextTokenId, position, wantLogits: true };
    });
    const [cache, own] = [new KvCache(core.config, 1), newMtpCache(core)];
    const expected = await forwardMtp(
      tiny.model,
      rows.map((row) => ({ ...row, cache })),
      tiny.experts,
    );
    const { logits } = await core.forward.forwardMtp(
      rows.map((row) => ({ ...row, cache: own })),
      core.dispatcher.batch(),
    );
    await tiny.checkpoint.close();
    for (const [i, row] of logits.entries()) expect(nmse(row!, expected.logits[i]!)).toBeLessThan(1e-5);
    expect(core.dispatcher.figures).toMatchObject({ laps: 1, draftAssignments: 0, fallbackAssignments: 0 });
    expect(core.dispatcher.figures.tabAssignments).toBe(rows.length * core.config.numExpertsPerTok);
  });
});
