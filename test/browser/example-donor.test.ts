import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser } from 'playwright';
import { build, preview, type PreviewServer } from 'vite';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Coordinator } from '../../coordinator/src/index.ts';
import { answer } from '../integration/answers.ts';
import { GOLDEN } from '../integration/golden.ts';
import { startTinyCoordinator } from '../integration/tiny-coordinator.ts';
import { covered, until } from '../integration/virtual-donor.ts';
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
});
