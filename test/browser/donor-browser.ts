import { closeRtc } from '@shoal/transport/node';
import type { Browser, BrowserContext, Page } from 'playwright';
import { afterAll, afterEach, beforeAll, beforeEach, expect } from 'vitest';
import { accessFaults } from './access-faults.ts';
import { FakeCoordinator } from './donor-fake-coordinator.ts';
import { axeViolations, DONOR_PAGE, shoot } from './donor-page.ts';
import { connectChromium } from './shared-chromium.ts';

/** f16 on the wire costs 4e-4 relative, i.e. about 2e-7 squared. */
export const MAX_NMSE = 1e-6;

// The current test's, set by `useFakeCoordinator`.
export let browser: Browser;
export let coordinator: FakeCoordinator;
export let context: BrowserContext;
export let page: Page;
/** Script errors and violations of the content policy. */
export let complaints: string[];

/** Each test gets its own fake coordinator and browser context. */
export function useFakeCoordinator(): void {
  beforeAll(async () => {
    browser = await connectChromium();
  });
  afterAll(async () => {
    await browser?.close();
    await closeRtc();
  });
  beforeEach(async () => {
    await startCoordinator();
    context = await browser.newContext();
    page = await context.newPage();
    complaints = [];
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('console', (message) => {
      if (/Content Security Policy/i.test(message.text())) complaints.push(message.text());
    });
  });
  afterEach(async () => {
    await context.close();
    await coordinator.stop();
  });
}

/** Replaces the coordinator by a new one. */
export async function startCoordinator(port?: number): Promise<void> {
  coordinator = new FakeCoordinator(DONOR_PAGE);
  await coordinator.start(port);
}

/** Polls until the value matches; the deadline is generous because the machine may be busy. */
export const eventually = <T>(value: () => T | Promise<T>) => expect.poll(value, { timeout: 60_000 });

export async function lend(): Promise<void> {
  await page.goto(coordinator.address);
  await page.getByRole('button', { name: 'Lend my GPU' }).click();
}

/** Checks that the page is accessible in both colour schemes and fits a telephone. */
export async function check(name: string): Promise<void> {
  await shoot(page, name);
  await page.emulateMedia({ colorScheme: 'dark' });
  expect(await accessFaults(page, { onlyContrast: true }), `${name}, dark`).toEqual([]);
  await page.emulateMedia({ colorScheme: 'light' });
  expect(await axeViolations(page), `${name}, light`).toEqual([]);
  const wide = page.viewportSize()!;
  await page.setViewportSize({ width: 360, height: 780 });
  const overflowPx = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  expect(overflowPx, `${name} at 360 px`).toBeLessThanOrEqual(0);
  await page.setViewportSize(wide);
}
