import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { SharedPledge, type SharingTabs } from './shared-pledge.ts';

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

/** A browser whose tabs see each other's locks and messages. */
function makeBrowser() {
  const held = new Map<string, object>();
  const channels = new Map<object, { onmessage: ((event: { data: unknown }) => void) | null }>();
  const openTab = () => {
    const owner = {};
    const counts: number[] = [];
    const limits: number[] = [];
    const places = {
      locks: {
        request: async (name: string, callback: () => Promise<void>) => {
          held.set(name, owner);
          await callback();
          held.delete(name);
        },
        query: async () => ({ held: [...held.keys(), 'shoal-tab-0'].map((name) => ({ name })) }),
      },
      openChannel: () => {
        const channel = {
          onmessage: null,
          postMessage: (data: unknown) => {
            for (const [other, { onmessage }] of channels) if (other !== owner) onmessage?.({ data });
          },
          close: () => void channels.delete(owner),
        };
        channels.set(owner, channel);
        return channel;
      },
    } as unknown as SharingTabs;
    const pledge = new SharedPledge(places, {
      onTabs: (tabs) => counts.push(tabs),
      onLimit: (bytes) => limits.push(bytes),
    });
    const crash = (): void => {
      for (const [name, by] of held) if (by === owner) held.delete(name);
      channels.delete(owner);
    };
    return { pledge, counts, limits, crash };
  };
  return { openTab };
}

const settle = (ms = 0) => vi.advanceTimersByTimeAsync(ms);

it('tabs that lend count each other at once, and grow a little after one has left', async () => {
  const { openTab } = makeBrowser();
  const [first, second, idle] = [openTab(), openTab(), openTab()];
  first.pledge.join();
  await settle();
  expect(first.counts).toEqual([]);
  second.pledge.join();
  second.pledge.join();
  await settle();
  expect([first.counts, second.counts, idle.counts]).toEqual([[2], [2], []]);
  second.pledge.leave();
  await settle(4_000);
  expect(first.counts).toEqual([2]);
  await settle(3_000);
  expect(first.counts).toEqual([2, 1]);
});

it('a tab that is reloaded makes no other grow and shrink', async () => {
  const { openTab } = makeBrowser();
  const [first, second, again] = [openTab(), openTab(), openTab()];
  first.pledge.join();
  second.pledge.join();
  await settle();
  second.pledge.leave();
  await settle(3_000);
  again.pledge.join();
  await settle(60_000);
  expect(first.counts).toEqual([2]);
  expect(again.counts).toEqual([2]);
});

it('a tab that crashed is missed before long', async () => {
  const { openTab } = makeBrowser();
  const [first, second] = [openTab(), openTab()];
  first.pledge.join();
  second.pledge.join();
  await settle();
  second.crash();
  await settle(36_000);
  expect(first.counts).toEqual([2, 1]);
});

it('tells the others a new limit', async () => {
  const { openTab } = makeBrowser();
  const [first, second] = [openTab(), openTab()];
  first.pledge.join();
  second.pledge.join();
  await settle();
  first.pledge.tellLimit(2 ** 29);
  expect([first.limits, second.limits]).toEqual([[], [2 ** 29]]);
});

it('a tab is alone where the browser forbids locks, or has none', async () => {
  const counts: number[] = [];
  const onTabs = (tabs: number): unknown => counts.push(tabs);
  const refuse = () => Promise.reject(new DOMException('denied', 'SecurityError'));
  for (const locks of [undefined, { request: refuse, query: refuse } as unknown as LockManager]) {
    const pledge = new SharedPledge({ locks, openChannel: () => undefined }, { onTabs, onLimit: () => {} });
    pledge.join();
    await settle(40_000);
    pledge.leave();
  }
  expect(counts).toEqual([]);
});
