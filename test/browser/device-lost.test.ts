import type { Page, Worker } from 'playwright';
import { afterEach, expect, it } from 'vitest';
import { answer } from '../integration/answers.ts';
import { covered, until } from '../integration/virtual-donor.ts';
import { GOLDEN } from '../integration/golden.ts';
import { expectTabsServed, Network } from './network.ts';

/**
 * Put before the worker's own code: keeps the devices, so that the test can destroy one. When no more are given, timers
 * run twenty times faster: the tab requests a device three times in 13.5 s before it gives up (REBUILD_DELAYS_MS).
 */
const KEEP_DEVICES = `{
  const timer = globalThis.setTimeout;
  globalThis.setTimeout = (run, delayMs, ...rest) => timer(run, globalThis.noMoreDevices ? delayMs / 20 : delayMs, ...rest);
  const request = GPUAdapter.prototype.requestDevice;
  globalThis.devices = [];
  GPUAdapter.prototype.requestDevice = async function (descriptor) {
    if (globalThis.noMoreDevices) throw new DOMException('The GPU process has gone', 'OperationError');
    const device = await request.call(this, descriptor);
    globalThis.devices.push(device);
    return device;
  };
}
`;
const TIMEOUT_MS = 120_000;
const PLEDGE_MIB = 64;

let network: Network;

afterEach(() => network.stop());

async function openTab(): Promise<{ page: Page; worker: Worker; shardRequests: () => number }> {
  const context = await network.browser.browser.newContext();
  const page = await context.newPage();
  let shards = 0;
  context.on('request', (request) => {
    if (request.url().includes('/shards/')) shards++;
  });
  await page.route(/worker.*\.js/, async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: KEEP_DEVICES + (await response.text()) });
  });
  await page.goto(`${network.coordinator.url}/?auto=1&pledge=${PLEDGE_MIB}`);
  await network.settle(1);
  const worker = page.workers()[0]!;
  expect(await worker.evaluate('devices.length')).toBeGreaterThan(0);
  return { page, worker, shardRequests: () => shards };
}

const loseDevice = (worker: Worker): Promise<unknown> => worker.evaluate('devices.at(-1).destroy()');

it('PeerHost: a q4 tab whose GPU device is lost gets another, loads again from its cache, and serves the same answer', async () => {
  network = await Network.start({ quant: 'q4', replicas: 1 });
  const { worker, shardRequests } = await openTab();
  const { coordinator } = network;
  const prompt = GOLDEN[3]!.prompt_ids;
  const before = await answer(coordinator, prompt, { maxTokens: 24 });
  expectTabsServed(coordinator);
  const downloaded = shardRequests();
  expect(downloaded).toBeGreaterThan(0);

  await loseDevice(worker);
  await until('the tab to be out of service', () => !covered(coordinator), TIMEOUT_MS);
  await network.settle(1);
  expect(await worker.evaluate('devices.length')).toBeGreaterThan(1);
  expect(shardRequests()).toBe(downloaded);

  const { tabAssignments, fallbackAssignments } = coordinator.dispatcher.figures;
  const after = await answer(coordinator, prompt, { maxTokens: 24 });
  expect(after.ids).toEqual(before.ids);
  expectTabsServed(coordinator, { tabAssignments, fallbackAssignments });
});

it('PeerHost: a tab that gets no other device leaves, says why, and answers go on without it', async () => {
  network = await Network.start({ replicas: 1 });
  const { page, worker } = await openTab();
  const { coordinator } = network;
  await worker.evaluate('globalThis.noMoreDevices = true');
  await loseDevice(worker);
  await until('the tab to leave', () => coordinator.swarm.peers.length === 0, TIMEOUT_MS);
  await page.getByText(/GPU/i).first().waitFor({ timeout: TIMEOUT_MS });
  const { ids } = await answer(coordinator, GOLDEN[3]!.prompt_ids, { maxTokens: 4 });
  expect(ids).toEqual(GOLDEN[3]!.greedy_ids.slice(0, 4));
});
