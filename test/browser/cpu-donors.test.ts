import type { BrowserServer } from 'playwright';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { launchSharedChromium } from '../../tools/browser/chromium.ts';
import { answer } from '../integration/answers.ts';
import { GOLDEN } from '../integration/golden.ts';
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
  it.each(['f16', 'q4'] as const)('lends its CPU and serves %s experts', async (quant) => {
    network = await start({ quant });
    const { coordinator } = network;
    const [tab] = await network.join(1, 'cpu');
    const [peer] = coordinator.swarm.peers;
    expect(peer!.hello.adapter).toMatchObject({ vendor: 'cpu', architecture: 'wasm' });
    // Shared memory, and so threads, need an isolated page.
    expect(await tab!.page.evaluate(() => crossOriginIsolated)).toBe(true);
    expect(peer!.allocatedBytes).toBeGreaterThan(coordinator.packed.manifest.shardBytes);
    const golden = GOLDEN[6]!;
    const { ids } = await answer(coordinator, golden.prompt_ids);
    // The golden ids are those of f32 weights; a coarser format may give others.
    if (quant === 'f16') expect(ids).toEqual(golden.greedy_ids);
    expectTabsServed(coordinator);
    await until('audits', () => peer!.trust.auditedRows > 100);
    expect(peer!.trust.failures).toBe(0);
    const shown = coordinator.snapshots.build().peers[0]!.adapter;
    expect(shown).toMatch(/^CPU, (one thread|\d+ threads)$/);
    await shoot(tab!.page, `cpu-live-${quant}`);
    expect(tab!.errors).toEqual([]);
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
