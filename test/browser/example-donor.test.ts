import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright';
import { build, preview, type PreviewServer } from 'vite';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Coordinator } from '../../coordinator/src/index.ts';
import { answer } from '../integration/answers.ts';
import { GOLDEN } from '../integration/golden.ts';
import { startTinyCoordinator } from '../integration/tiny-coordinator.ts';
import { covered, until } from '../integration/virtual-donor.ts';
import { serveSite } from '../../examples/embed/server.ts';
import { accessFaults } from './access-faults.ts';
import { shoot } from './donor-page.ts';
import { expectTabsServed } from './network.ts';
import { connectChromium } from './shared-chromium.ts';

const configFile = join(import.meta.dirname, '../../examples/donor-page/vite.config.ts');
const JOIN_TIMEOUT_MS = 120_000;

let outDir: string;
let coordinator: Coordinator;
let server: PreviewServer;
let browser: Browser;

beforeAll(async () => {
  outDir = await mkdtemp(join(tmpdir(), 'shoal-example-'));
  coordinator = await startTinyCoordinator({ replicas: 1 });
  process.env.SHOAL_URL = coordinator.url;
  await build({ configFile, logLevel: 'warn', build: { outDir, emptyOutDir: true } });
  server = await preview({ configFile, build: { outDir }, preview: { host: '127.0.0.1', port: 0 } });
  browser = await connectChromium();
});

afterAll(async () => {
  await browser?.close();
  await server?.close();
  await coordinator?.close();
  await rm(outDir, { recursive: true, force: true });
});

it('examples/donor-page lends a tab that serves every expert', async () => {
  const page = await browser.newPage();
  const errors: string[] = [];
  page.on('pageerror', (error) => errors.push(error.message));
  await page.goto(server.resolvedUrls!.local[0]!);
  await page.getByRole('button', { name: 'Lend 64 MiB of my GPU' }).click();
  const served = (): boolean => coordinator.swarm.peers.length === 1 && covered(coordinator);
  await until('the tab to serve every expert', served, JOIN_TIMEOUT_MS);
  const golden = GOLDEN[6]!;
  const { ids } = await answer(coordinator, golden.prompt_ids);
  expect(ids).toEqual(golden.greedy_ids);
  expectTabsServed(coordinator);
  await page.getByText(/working: \d+ experts, \d{2,} rows/).waitFor();
  expect(errors).toEqual([]);
  await page.close();
  await until('the tab to leave', () => coordinator.swarm.peers.length === 0);
});

describe('examples/embed: a site on another origin, under a strict content policy', () => {
  let site: Awaited<ReturnType<typeof serveSite>>;
  let page: Page;
  let complaints: string[];

  beforeAll(async () => void (site = await serveSite(coordinator.url, 0)));
  afterAll(() => site.server.close());
  beforeEach(async () => {
    page = await browser.newPage({ viewport: { width: 316, height: 900 } });
    complaints = [];
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  });
  afterEach(() => page.close());

  it('lends a tab once a visitor has pressed a button that they could see, and until the element is removed', async () => {
    const requests: string[] = [];
    page.on('request', (request) => requests.push(request.url()));
    page.on('websocket', (socket) => requests.push(socket.url()));
    await page.goto(site.url);
    const frame = page.frameLocator('shoal-donate >> iframe');
    const button = frame.getByRole('button', { name: 'Lend my GPU' });
    await frame.getByText('tiny-stories').waitFor();
    const asked = requests.filter((url) => url.startsWith(coordinator.url)).map((url) => new URL(url).pathname);
    expect(asked.filter((path) => !path.startsWith('/assets/')).sort()).toEqual([
      '/donate.js',
      '/donor-info',
      '/embed',
    ]);
    await frame.getByText('What this takes').click();
    for (const colorScheme of ['dark', 'light'] as const) {
      await page.emulateMedia({ colorScheme });
      for (const each of page.frames()) {
        expect(await accessFaults(each, { bestPractice: false }), `${each.url()}, ${colorScheme}`).toEqual([]);
      }
    }
    await shoot(page, 'embed-consent');
    await page.setViewportSize({ width: 316, height: 900 });
    const widths = await frame.locator('main').evaluate(({ ownerDocument: { documentElement } }) => {
      return [documentElement.clientWidth, documentElement.scrollWidth];
    });
    expect(widths).toEqual([300, 300]);

    // What a site does to trick its visitors: something of its own over the button, which lets the press through.
    await page.evaluate(() => {
      const cover = document.createElement('div');
      cover.id = 'cover';
      Object.assign(cover.style, { position: 'fixed', inset: '0', background: 'white', pointerEvents: 'none' });
      document.body.append(cover);
    });
    await button.click({ timeout: 60_000 });
    await frame.getByText('has to be in full view').waitFor();
    expect(coordinator.swarm.peers).toEqual([]);
    await page.evaluate(() => document.getElementById('cover')!.remove());

    // By the keyboard, as soon as it counts.
    await button.focus();
    await expect
      .poll(
        async () => {
          if (await button.isVisible()) await page.keyboard.press('Enter');
          return page.locator('#state').innerText();
        },
        { timeout: 60_000, interval: 500 },
      )
      .toContain('joining');
    const served = (): boolean => coordinator.swarm.peers.length === 1 && covered(coordinator);
    await until('the embed to serve every expert', served, JOIN_TIMEOUT_MS);
    const golden = GOLDEN[6]!;
    expect((await answer(coordinator, golden.prompt_ids)).ids).toEqual(golden.greedy_ids);
    expectTabsServed(coordinator);
    await frame.getByText(/Your GPU has helped to write \d+ words/).waitFor();
    expect(await page.locator('#state').innerText()).toBe('idle → joining → lending');
    await shoot(page, 'embed-live');
    expect(complaints).toEqual([]);

    await page.evaluate(() => document.querySelector('shoal-donate')!.remove());
    await until('the tab to leave', () => coordinator.swarm.peers.length === 0);
  });

  it('can frame no other page of the coordinator, and says so where the frame is refused', async () => {
    await page.goto(site.url);
    await page.frameLocator('shoal-donate >> iframe').getByRole('button').waitFor();
    for (const path of ['', 'console', 'playground', 'lab', 'embed.html', 'docs']) {
      await page.evaluate((src) => {
        const frame = document.createElement('iframe');
        frame.id = 'other';
        frame.src = src;
        document.body.append(frame);
      }, `${coordinator.url}/${path}`);
      const other = await (await page.waitForSelector('#other')).contentFrame();
      await expect.poll(() => other!.url(), { timeout: 30_000 }).toBe('chrome-error://chromewebdata/');
      await page.evaluate(() => document.getElementById('other')!.remove());
    }
    expect(complaints.filter((text) => !/frame-ancestors/.test(text))).toEqual([]);
    // It goes on showing what was heard of, and says where nothing is.
    expect(await page.locator('#state').innerText()).toBe('idle');
    await coordinator.settings.change({ embedSites: 'https://blog.example' }, 'a test');
    await page.reload();
    await page.getByText('Shoal can’t be shown here. You can lend your GPU on its own page').waitFor();
    expect(await page.locator('#state').innerText()).toBe('problem');
  });
});
