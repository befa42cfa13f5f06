import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Page } from 'playwright';
import { until } from '../integration/virtual-donor.ts';
import { accessFaults } from './access-faults.ts';
import { eventually, openPage } from './console-browser.ts';
import { ADMIN_TOKEN, expectTabsServed, Network } from './network.ts';

/** The three pages with a real coordinator behind them, as people use them. */
describe('donor, operator and developer', () => {
  let network: Network;
  let faults: string[] = [];

  beforeAll(async () => {
    network = await Network.start();
    await network.join(3);
  });
  afterAll(() => network.stop());

  async function open(path: string): Promise<Page> {
    const opened = await openPage(network.browser.browser, network.coordinator.url);
    faults = opened.faults;
    await opened.page.goto(`${network.coordinator.url}${path}`);
    return opened.page;
  }

  it('a developer watches which tabs serve each word', async () => {
    const page = await open('/playground');
    await page.getByLabel('Prompt').fill('The old boat');
    await page.getByLabel('Max tokens').fill('24');
    await page.getByRole('button', { name: 'Write' }).click();
    await eventually(() => page.locator('body').textContent()).toContain('the token limit was reached');
    const text = await page.locator('body').textContent();
    // The tabs that computed (one of three may only have been audited against) are in the legend by name.
    const { swarm, dispatcher } = network.coordinator;
    const legend = text!.matchAll(/tab-\d+-[0-9a-f]{4}/g);
    const named = new Set(Array.from(legend, ([name]) => name));
    expect(named.size).toBeGreaterThan(0);
    expect(swarm.peers.map((peer) => peer.peerId)).toEqual(expect.arrayContaining([...named]));
    if (dispatcher.figures.fallbackAssignments === 0) expect(text).not.toContain('the coordinator itself');
    expectTabsServed(network.coordinator);
    expect(await accessFaults(page)).toEqual([]);
    expect(faults).toEqual([]);
    await page.context().close();
  });

  it('a page opens WebSockets to its own host, and to no other', async () => {
    const page = await open('/');
    /** `open`, or the directive of the content security policy that forbids it. */
    const connect = (url: string): Promise<string> =>
      page.evaluate(
        (target) =>
          new Promise((resolve) => {
            addEventListener('securitypolicyviolation', (event) => resolve(event.effectiveDirective), { once: true });
            new WebSocket(target).addEventListener('open', () => resolve('open'));
          }),
        url,
      );
    const { host, port } = new URL(network.coordinator.url);
    expect(await connect(`ws://${host}/socket.io/?EIO=4&transport=websocket`)).toBe('open');
    expect(await connect(`ws://localhost:${port}/socket.io/?EIO=4&transport=websocket`)).toBe('connect-src');
    await page.context().close();
  });

  it('a donor pauses, resumes, and finishes with thanks', async () => {
    const { page } = network.tabs[0]!;
    const phase = (): Promise<string | undefined> => page.evaluate(() => document.documentElement.dataset['phase']);
    const states = (): string[] => network.coordinator.swarm.peers.map((peer) => peer.state);
    await page.getByRole('button', { name: 'Pause' }).click();
    await until('the coordinator to know of the pause', () => states().includes('paused'));
    await page.getByRole('button', { name: /Resume|Go on|Continue/ }).click();
    await until('the coordinator to know that it goes on', () => !states().includes('paused'));
    await page.getByRole('button', { name: 'Finish, then stop' }).click();
    await eventually(phase).toBe('finished');
    await until('the tab to be gone', () => network.coordinator.swarm.peers.length === 2);
    await network.settle(2);
    expect(network.tabs[0]!.errors).toEqual([]);
  });

  it('an operator drains one tab and removes another, and the verdict follows', async () => {
    const page = await open(`/console#token=${ADMIN_TOKEN}`);
    await eventually(() => page.locator('body').textContent()).toContain('2 tabs hold every expert');
    const [first, second] = network.coordinator.swarm.peers.map((peer) => peer.peerId);
    await page.getByRole('button', { name: first! }).click();
    await page.getByRole('button', { name: 'Drain' }).click();
    await eventually(() => page.locator('body').textContent()).toContain('on 1 tab');
    // It gets no more work and leaves when its laps are done.
    await eventually(() => page.getByRole('button', { name: first! }).count()).toBe(0);
    await page.getByRole('button', { name: second! }).click();
    await page.getByRole('button', { name: 'Remove…' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click();
    await eventually(() => page.locator('body').textContent()).toContain('Serving alone');
    expect(network.coordinator.swarm.peers).toHaveLength(0);
    // A tab that the operator removed does not rejoin by itself.
    const donor = network.tabs[2]!.page;
    await eventually(() => donor.locator('body').textContent()).toMatch(/operator/);
    expect(faults).toEqual([]);
    await page.context().close();
  });
});
