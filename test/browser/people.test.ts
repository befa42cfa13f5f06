import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Page } from 'playwright';
import { until } from '../integration/virtual-donor.ts';
import { accessFaults } from './access-faults.ts';
import { eventually, openPage } from './console-browser.ts';
import { launchProfile } from '../../tools/browser/chromium.ts';
import { waitForPhase } from './donor-page.ts';
import { PrefixProxy } from './prefix-proxy.ts';
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

  it('all pages work behind a path prefix that a proxy removes', async () => {
    const proxy = await PrefixProxy.start(network.coordinator.url, '/shoal');
    const { page, faults: found } = await openPage(network.browser.browser, new URL(proxy.url).origin);
    const lender = await network.browser.open(proxy.url, 64, 'gpu');
    await page.goto(`${proxy.url}/playground/`);
    expect(page.url()).toBe(`${proxy.url}/playground`);
    await page.getByLabel('Prompt').fill('The old boat');
    await page.getByRole('button', { name: 'Write' }).click();
    await eventually(() => page.locator('body').textContent()).toContain('tokens/s');
    await page.getByRole('button', { name: 'Copy as curl' }).click();
    expect(await page.locator('pre').textContent()).toContain(`${proxy.url}/v1/completions`);
    await page.getByRole('link', { name: 'Lab' }).click();
    await page.getByRole('heading', { name: 'Lab', level: 1 }).waitFor();
    await page.goto(`${proxy.url}/console#token=${ADMIN_TOKEN}`);
    await eventually(() => page.locator('body').textContent()).toContain('Serving');
    await waitForPhase(lender.page, 'waiting', 'working');
    await lender.page.close();
    await network.settle(3);
    expect([proxy.strays, found, lender.errors]).toEqual([[], [], []]);
    await page.context().close();
    await proxy.stop();
  });

  it('all pages work where the browser blocks their data', async () => {
    const profile = await mkdtemp(join(tmpdir(), 'shoal-blocked-'));
    await mkdir(join(profile, 'Default'));
    const blocked = { profile: { default_content_setting_values: { cookies: 2 } } };
    await writeFile(join(profile, 'Default/Preferences'), JSON.stringify(blocked));
    const context = await launchProfile(profile);
    const page = await context.newPage();
    const errors: string[] = [];
    page.on('pageerror', ({ message }) => errors.push(message));
    for (const [path, title] of [
      ['/playground', 'Playground'],
      ['/lab', 'Lab'],
      [`/console#token=${ADMIN_TOKEN}`, 'Console'],
    ] as const) {
      await page.goto(`${network.coordinator.url}${path}`);
      await page.getByRole('heading', { name: title, level: 1 }).waitFor();
    }
    await eventually(() => page.locator('body').textContent()).toContain('Serving');
    await page.goto(network.coordinator.url);
    await page.getByText('This browser keeps nothing for this page').waitFor();
    expect(await accessFaults(page)).toEqual([]);
    await page.getByRole('button', { name: /^Lend my/ }).click();
    await waitForPhase(page, 'waiting', 'working');
    await context.close();
    await rm(profile, { recursive: true });
    await network.settle(3);
    expect(errors).toEqual([]);
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
    await page.getByRole('button', { name: 'Drain…' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Drain' }).click();
    await eventually(() => page.locator('body').textContent()).toContain('on 1 tab');
    // It gets no more work and leaves when its laps are done.
    await eventually(() => page.getByRole('button', { name: first!, exact: true }).count()).toBe(0);
    await page.getByRole('button', { name: second!, exact: true }).click();
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
