import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Page } from 'playwright';
import { ROOT_DIR } from '../coordinator/src/index.ts';
import { covered, until } from '../test/integration/virtual-donor.ts';
import { DonorBrowser } from './browser/donor-tabs.ts';
import { startTinyCoordinator } from '../test/integration/tiny-coordinator.ts';

/** Takes the README's pictures from a running swarm: four tabs, a few answers, and every page. */
const OUT_DIR = join(ROOT_DIR, 'docs/images');
const SIZE = { width: 1280, height: 900 };
const PLEDGE_MIB = 128;
const PROMPTS = ['Once upon a time', 'The old boat', 'Tom had a red ball.', 'Grandma baked a cake, but'];

const coordinator = await startTinyCoordinator({
  adminToken: 'screenshots',
});
const browser = await DonorBrowser.launch();

async function story(prompt: string, seed: number): Promise<void> {
  const body = JSON.stringify({ model: 'tiny-stories', prompt, max_tokens: 120, temperature: 0.7, seed });
  const response = await fetch(`${coordinator.url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
  });
  if (!response.ok) throw new Error(await response.text());
}

async function open(path: string): Promise<Page> {
  const context = await browser.browser.newContext({ viewport: SIZE, deviceScaleFactor: 1 });
  const page = await context.newPage();
  await page.goto(`${coordinator.url}${path}`);
  return page;
}

/** The model's own gate and the one below it. */
async function studiesClip(page: Page): Promise<{ x: number; y: number; width: number; height: number }> {
  const boxes = await Promise.all((await page.locator('.study').all()).map((card) => card.boundingBox()));
  const top = boxes[0]!.y - 16;
  const last = boxes.at(-1)!;
  return { x: 0, y: top, width: SIZE.width, height: last.y + last.height + 16 - top };
}

/** Donor page with the most rows per second: some replicas get hardly any. */
async function busiest(pages: readonly Page[]): Promise<Page> {
  const rates = await Promise.all(pages.map((page) => page.locator('.chart strong').first().innerText()));
  const rows = rates.map((text) => Number.parseFloat(text.replaceAll(',', '')));
  return pages[rows.indexOf(Math.max(...rows))]!;
}

try {
  mkdirSync(OUT_DIR, { recursive: true });
  const tabs = await Promise.all(Array.from({ length: 4 }, () => browser.open(coordinator.url, PLEDGE_MIB)));
  await until('four tabs to serve', () => coordinator.swarm.peers.length === 4 && covered(coordinator), 180_000);
  const console = await open('/console#token=screenshots');
  // Long enough to fill the charts.
  for (let round = 0; round < 4; round++) await Promise.all(PROMPTS.map((prompt, i) => story(prompt, 10 * round + i)));
  const running = Promise.all(PROMPTS.map((prompt, i) => story(prompt, 100 + i)));
  await new Promise((resolve) => setTimeout(resolve, 1500));
  await console.screenshot({ path: join(OUT_DIR, 'console.png') });
  const donor = await busiest(tabs.map(({ page }) => page));
  await donor.setViewportSize(SIZE);
  await donor.screenshot({ path: join(OUT_DIR, 'donor.png') });
  await running;

  const lab = await open('/lab');
  await lab
    .getByLabel('Text')
    .fill('Many years ago, when the towns were young, there was a playful bear named Clover.');
  await lab.getByRole('button', { name: 'Look' }).click();
  await lab.getByText('looks done').waitFor();
  await lab.screenshot({ path: join(OUT_DIR, 'lab.png'), clip: await studiesClip(lab), fullPage: true });

  const consent = await open('/');
  await consent.screenshot({ path: join(OUT_DIR, 'donor-consent.png') });
  const playground = await open('/playground');
  await playground
    .getByRole('textbox', { name: /prompt|text/i })
    .first()
    .fill('Once upon a time');
  await playground
    .getByRole('button', { name: /^(write|continue|run|start|go|send)/i })
    .first()
    .click();
  await until('the playground to finish', () => coordinator.scheduler.running.length === 0, 60_000);
  await new Promise((resolve) => setTimeout(resolve, 2500));
  await playground.screenshot({ path: join(OUT_DIR, 'playground.png'), fullPage: true });
  process.stderr.write(`Pictures are in ${OUT_DIR}\n`);
} finally {
  await browser.close();
  await coordinator.close();
}
