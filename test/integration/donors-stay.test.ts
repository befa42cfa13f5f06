import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest';
import type { Coordinator } from '../../coordinator/src/index.ts';
import { ProcessTab } from '../tabs/process-tab.ts';
import { startTinyCoordinator } from './tiny-coordinator.ts';
import { covered, until } from './virtual-donor.ts';

const PLEDGE_BYTES = 64 * 2 ** 20;
/** Processes compile and join on the same cores as everything else. */
const JOIN_TIMEOUT_MS = 60_000;
const HOUR_MS = 3_600_000;

let coordinator: Coordinator;
const tabs: ProcessTab[] = [];

// One for all tests: starting tabs takes longest.
beforeAll(async () => {
  coordinator = await startTinyCoordinator();
  await join();
});
afterEach(() => vi.restoreAllMocks());
afterAll(async () => {
  await Promise.all(tabs.map((tab) => tab.close()));
  await coordinator.close();
});

const peerIds = (): string[] => coordinator.swarm.peers.map(({ peerId }) => peerId);

/** Opens a tab, and waits until all have what the new plan wants of them, which takes a message or more of each. */
async function join(): Promise<void> {
  const tab = await ProcessTab.open();
  tabs.push(tab);
  tab.lend({ url: coordinator.url, pledgeBytes: PLEDGE_BYTES, seed: tabs.length });
  await until('a tab', () => peerIds().length === tabs.length && covered(coordinator), JOIN_TIMEOUT_MS);
}

async function answers(): Promise<number> {
  const body = JSON.stringify({ model: coordinator.scheduler.modelId, prompt: 'Once', max_tokens: 4 });
  const headers = { 'content-type': 'application/json' };
  return (await fetch(`${coordinator.url}/v1/completions`, { method: 'POST', headers, body })).status;
}

it('keeps its tabs and admits others when the system’s clock is set back or forward by an hour', async () => {
  const { now } = Date;
  for (const byMs of [-HOUR_MS, HOUR_MS]) {
    vi.spyOn(Date, 'now').mockImplementation(() => now() + byMs);
    const before = peerIds();
    await join();
    expect(await answers()).toBe(200);
    expect(peerIds()).toEqual([...before, expect.any(String)]);
  }
});

it('keeps its tabs when it was blocked for longer than a silent tab is waited for', async () => {
  const before = peerIds();
  // Three pings of two seconds go unanswered, at either end.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 9_000);
  // Two rounds of pings, in which either end would give the other up.
  await new Promise((resolve) => setTimeout(resolve, 4_500));
  expect(peerIds()).toEqual(before);
  expect(before).toHaveLength(tabs.length);
  expect(await answers()).toBe(200);
  const handshake = await (await fetch(`${coordinator.url}/socket.io/?EIO=4&transport=polling`)).text();
  expect(JSON.parse(handshake.slice(1))).toMatchObject({ pingTimeout: 60_000 });
});
