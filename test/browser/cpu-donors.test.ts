import { relative } from 'node:path';
import { ensurePacked } from '@shoal/weights/node';
import type { BrowserServer } from 'playwright';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { launchSharedChromium } from '../../tools/browser/chromium.ts';
import { parseShardUrl } from '../../coordinator/src/base/shard-url.ts';
import type { DonorTab } from '../../tools/browser/donor-tabs.ts';
import { fixtureDir } from '../golden/families.ts';
import { answer } from '../integration/answers.ts';
import { CACHE_DIR, GOLDEN, TINY_STORIES } from '../integration/golden.ts';
import { StaticHost } from '../integration/static-host.ts';
import { until } from '../integration/virtual-donor.ts';
import { axeViolations, shoot, waitForPhase } from './donor-page.ts';
import { expectTabsServed, Network, type NetworkOptions } from './network.ts';

let server: BrowserServer;
let network: Network;
beforeAll(async () => {
  server = await launchSharedChromium({ webGpu: false });
});
afterEach(() => network.stop());
afterAll(() => server.close());

const start = (options: NetworkOptions = {}): Promise<Network> =>
  Network.start({ ...options, chromium: server.wsEndpoint() });

describe('CPU donor (WasmBackend): a browser without WebGPU', () => {
  // Floats and integers; what else formats differ in is the kernels' (test/browser/kernels.test.ts).
  it('lends its CPU and serves f16 experts', async () => {
    network = await start({ quant: 'f16' });
    const [tab] = await network.join(1, 'cpu');
    const golden = GOLDEN[6]!;
    // The golden ids are those of f32 weights; a coarser format may give others.
    expect(await serves(tab!, 'f16')).toEqual(golden.greedy_ids);
  });

  /** Checks that the tab serves as an honest one does; returns the tokens of an answer. */
  async function serves(tab: DonorTab, quant: string): Promise<number[]> {
    const { coordinator } = network;
    const [peer] = coordinator.swarm.peers;
    expect(peer!.hello.adapter).toMatchObject({ vendor: 'cpu', architecture: 'wasm' });
    // Shared memory, and so threads, need an isolated page.
    expect(await tab.page.evaluate(() => crossOriginIsolated)).toBe(true);
    expect(peer!.allocatedBytes).toBeGreaterThan(coordinator.packed.manifest.shardBytes);
    const { ids } = await answer(coordinator, GOLDEN[6]!.prompt_ids);
    expectTabsServed(coordinator);
    await until('audits', () => peer!.trust.auditedRows > 100);
    expect(peer!.trust.failures).toBe(0);
    const shown = coordinator.snapshots.build().peers[0]!.adapter;
    expect(shown).toMatch(/^CPU, (one thread|\d+ threads)$/);
    await shoot(tab.page, `cpu-live-${quant}`);
    expect(tab.errors).toEqual([]);
    return ids;
  }

  it('serves q4 experts that it takes from a mirror until that sends wrong bytes, and then from the coordinator', async () => {
    const host = new StaticHost(CACHE_DIR);
    const mirror = await host.start();
    // The folder of a packed model is laid out as a published one is.
    const { dir } = await ensurePacked({ modelDir: TINY_STORIES, cacheDir: CACHE_DIR, quant: 'q4' });
    const served = (): string[] => host.requests.filter((path) => path.includes('/shards/'));
    const wrongAfter = 50;
    host.fault = (path, response) => {
      if (served().length <= wrongAfter) return undefined;
      response.end(Buffer.alloc(100));
      return true;
    };
    try {
      const shardUrls = [parseShardUrl(`${mirror}/${relative(CACHE_DIR, dir)}/shards?token=t`)];
      network = await start({ quant: 'q4', config: { shardUrls } });
      const { coordinator } = network;
      const [tab] = await network.join(1, 'cpu');
      const { shardBytes } = coordinator.packed.manifest;
      const all = coordinator.swarm.peers[0]!.assigned.size;
      const metrics = async () => (await fetch(`${coordinator.url}/metrics`)).text();
      const bytesFrom = async (source: string) =>
        Number(new RegExp(`shoal_shard_bytes_total{source="${source}"} (\\d+)`).exec(await metrics())![1]);
      await expect.poll(() => bytesFrom('mirror'), { timeout: 30_000 }).toBe(wrongAfter * shardBytes);
      expect(await bytesFrom('coordinator')).toBe((all - wrongAfter) * shardBytes);
      // A few were under way when the first was refused, of more than a hundred that were left.
      expect(served().length).toBeLessThanOrEqual(wrongAfter + 16);
      await tab!.page.getByText(/weights downloaded \([\d.]+ [KM]B from a mirror\)/).waitFor();
      const told = coordinator.events.all().filter(({ text }) => text.includes(mirror));
      expect(told.map(({ text }) => text)).toEqual([expect.stringContaining('sent a tab wrong bytes')]);
      await serves(tab!, 'q4');
    } finally {
      await host.close();
    }
  });

  it('that exchanges weights with seven others: the coordinator sends little more than one copy to all', async () => {
    const tabs = 8;
    network = await start({ modelDir: fixtureDir('qwen3-moe'), replicas: tabs, config: { tabToTab: true } });
    const { coordinator, browser } = network;
    const opened = await Promise.all(
      Array.from({ length: tabs }, () => browser.open(coordinator.url, 64, 'cpu', 1000)),
    );
    const { swarm, packed } = coordinator;
    // Each holds the whole model.
    const whole = packed.manifest.expertLayers.length * packed.manifest.expertsPerLayer;
    await until(
      'eight tabs to hold the whole model',
      () => swarm.peers.length === tabs && swarm.peers.every(({ live }) => live.size === whole),
      90_000,
    );
    const metrics = await (await fetch(`${coordinator.url}/metrics`)).text();
    const sentBytes = Number(/shoal_shard_bytes_total{source="coordinator"} (\d+)/.exec(metrics)![1]);
    expect(sentBytes / (whole * packed.manifest.shardBytes)).toBeLessThanOrEqual(1.5);
    await Promise.any(opened.map(({ page }) => page.getByText(/from other tabs/).waitFor()));
    expect(opened.flatMap(({ errors }) => errors)).toEqual([]);
  });

  it('is told so, and joins with its CPU when its donor agrees to that', async () => {
    network = await start();
    const page = await (await network.browser.browser.newContext()).newPage();
    await page.goto(network.coordinator.url);
    await page.getByRole('button', { name: 'Lend my GPU' }).click();
    await page.getByRole('heading', { name: 'No usable GPU found' }).waitFor();
    await page.getByText(/of your CPU’s \d+ threads (is|are) busy/).waitFor();
    await shoot(page, 'cpu-instead');
    expect(network.coordinator.swarm.peers).toEqual([]);
    await page.getByRole('button', { name: 'Lend my CPU instead' }).click();
    await waitForPhase(page, 'waiting', 'working');
    expect(network.coordinator.swarm.peers[0]!.hello.adapter.architecture).toBe('wasm');
    expect(await axeViolations(page)).toEqual([]);
    // A reloaded tab keeps the donor's consent.
    await page.reload();
    await waitForPhase(page, 'waiting', 'working');
    expect(network.coordinator.swarm.peers[0]!.hello.adapter.architecture).toBe('wasm');
  });

  it('is asked for its CPU alone, and turned away where the operator wants GPUs only', async () => {
    network = await start({ cpuDonors: false });
    const page = await (await network.browser.browser.newContext()).newPage();
    // Firefox and older browsers lack the property.
    await page.addInitScript('delete Navigator.prototype.gpu');
    await page.goto(network.coordinator.url);
    const button = page.getByRole('button', { name: 'Lend my CPU' });
    await button.waitFor();
    expect(await page.getByRole('radio', { name: /GPU/ }).isDisabled()).toBe(true);
    await page.getByText(/of your CPU’s \d+ threads (is|are) busy/).waitFor();
    await shoot(page, 'cpu-consent');
    expect(await axeViolations(page)).toEqual([]);
    await button.click();
    await waitForPhase(page, 'failed');
    await page.getByRole('heading', { name: 'This swarm only accepts GPUs' }).waitFor();
    await shoot(page, 'cpu-refused');
    expect(network.coordinator.swarm.peers).toEqual([]);
  });
});
