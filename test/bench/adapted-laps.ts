import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createRng, moeLayers, type ModelConfig, normalDraw } from '@shoal/model';
import { serialise, type StoredTensor } from '../../packages/model/src/testing/quantised-fixtures.ts';
import type { ServedAdapter } from '../../coordinator/src/adapters/served-adapter.ts';
import { answer } from '../integration/answers.ts';
import { GOLDEN } from '../integration/golden.ts';
import { until } from '../integration/virtual-donor.ts';
import { Rig } from './rig.ts';
import { median } from './table.ts';
import type { HeldRow } from './table.ts';

const STREAMS = 8;
const TOKENS = 40;
const ROUND_TRIP_MS = 20;
const TABS = 2;
const RANK = 8;
/** Runs of each kind, in turns, since other programs use the machine. */
const REPEATS = 5;

/**
 * Tokens a second of eight streams over two tabs at 20 ms: without an adapter, with one whose experts the tabs compute, and with
 * the same where the coordinator does, as before tabs knew adapters.
 */
export async function adaptedLaps(): Promise<HeldRow[]> {
  const folder = await mkdtemp(join(tmpdir(), 'shoal-adapted-'));
  const rig = await Rig.start({ tabs: TABS, coordinator: { adapterRoot: folder, replicas: 2, speculate: 'off' } });
  try {
    const { coordinator } = rig;
    await writeAdapter(join(folder, 'style'), coordinator.config);
    const adapter = await coordinator.adapters.load('style', join(folder, 'style'));
    await run(rig, adapter);
    await until('tabs to hold the adapter', () => coordinator.swarm.peers.every((peer) => peer.adapters!.isSettled));
    rig.setLine({ roundTripMs: ROUND_TRIP_MS, loss: 0 });
    const held = coordinator.swarm.peers.map((peer) => ({ peer, adapters: peer.adapters }));
    const speeds = { plain: [] as number[], tabs: [] as number[], coordinator: [] as number[] };
    const { figures } = coordinator.dispatcher;
    const shares: number[] = [];
    for (let i = 0; i < REPEATS; i++) {
      speeds.plain.push(await run(rig, undefined));
      const [tab, own] = [figures.tabAdapted, figures.fallbackAdapted];
      speeds.tabs.push(await run(rig, adapter));
      const byTabs = figures.tabAdapted - tab;
      shares.push(byTabs / (byTabs + figures.fallbackAdapted - own));
      for (const { peer } of held) peer.adapters = undefined;
      speeds.coordinator.push(await run(rig, adapter));
      for (const { peer, adapters } of held) peer.adapters = adapters;
    }
    const text = (of: readonly number[]): string => `${median(of).toFixed(1)} tokens/s`;
    const ratio = (of: readonly number[]): string => `${(median(of) / median(speeds.plain)).toFixed(2)} times without`;
    const { layerKinds, numHiddenLayers } = coordinator.config;
    const laps = layerKinds.slice(0, numHiddenLayers).filter((kind) => kind === 'moe').length;
    const limit = (1000 * STREAMS) / (ROUND_TRIP_MS * laps);
    return [
      {
        figure: `${STREAMS} streams, ${TABS} tabs, ${ROUND_TRIP_MS} ms: no adapter`,
        measured: text(speeds.plain),
        reference: `${limit.toFixed(0)} if nothing but round trips took time`,
      },
      { figure: '  an adapter of all experts, in tabs', measured: text(speeds.tabs), reference: ratio(speeds.tabs) },
      {
        figure: '    share of its work that tabs did',
        measured: `${(100 * median(shares)).toFixed(0)} %`,
        reference: '',
      },
      {
        figure: '  the same in the coordinator',
        measured: text(speeds.coordinator),
        reference: ratio(speeds.coordinator),
      },
    ];
  } finally {
    await rig.close();
    await rm(folder, { recursive: true });
  }
}

/** Tokens a second. */
async function run({ coordinator }: Rig, adapter: ServedAdapter | undefined): Promise<number> {
  const startedMs = performance.now();
  const streams = Array.from({ length: STREAMS }, (_, i) =>
    answer(coordinator, GOLDEN[i % GOLDEN.length]!.prompt_ids, { maxTokens: TOKENS, ignoreEos: true, adapter }),
  );
  const tokens = (await Promise.all(streams)).reduce((sum, { ids }) => sum + ids.length, 0);
  return (1000 * tokens) / (performance.now() - startedMs);
}

/** A PEFT adapter of random values that changes every routed expert. */
async function writeAdapter(dir: string, config: ModelConfig): Promise<void> {
  const { hiddenSize: D, moeIntermediateSize: F, nRoutedExperts } = config;
  const rng = createRng(5);
  const tensors = new Map<string, StoredTensor>();
  const add = (name: string, rows: number, cols: number): void => {
    const values = Float32Array.from({ length: rows * cols }, () => 0.02 * normalDraw(rng));
    tensors.set(`base_model.model.${name}.weight`, {
      dtype: 'F32',
      shape: [rows, cols],
      bytes: new Uint8Array(values.buffer),
    });
  };
  for (const layer of moeLayers(config).filter((each) => each < config.numHiddenLayers)) {
    for (let expert = 0; expert < nRoutedExperts; expert++) {
      for (const [part, inDim, outDim] of [
        ['gate', D, F],
        ['up', D, F],
        ['down', F, D],
      ] as const) {
        const module = `model.layers.${layer}.mlp.experts.${expert}.${part}_proj`;
        add(`${module}.lora_A`, RANK, inDim);
        add(`${module}.lora_B`, outDim, RANK);
      }
    }
  }
  const modules = ['gate_proj', 'up_proj', 'down_proj'];
  const peft = { peft_type: 'LORA', r: RANK, lora_alpha: RANK, target_modules: modules, base_model_name_or_path: null };
  await mkdir(dir);
  await writeFile(join(dir, 'adapter_config.json'), JSON.stringify(peft));
  await writeFile(join(dir, 'adapter_model.safetensors'), serialise(tensors));
}
