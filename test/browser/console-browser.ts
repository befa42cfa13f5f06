import type { Browser, BrowserContext, BrowserContextOptions, Page } from 'playwright';
import { afterAll, afterEach, beforeAll, beforeEach, expect } from 'vitest';
import { accessFaults } from './access-faults.ts';
import { FakeCoordinator, PAGES } from './console-fake.ts';
import { makeSnapshot } from './console-fake-data.ts';
import { connectChromium } from './shared-chromium.ts';

const VIEWPORT = { width: 1280, height: 900 };
const PAGE_TIMEOUT_MS = 90_000;

// The current test's, set by `useFakeCoordinator`.
export let browser: Browser;
export let fake: FakeCoordinator;
export let page: Page;

/** Opens one browser context per file; each test gets its own fake coordinator and tab. */
export function useFakeCoordinator(permissions: string[] = []): void {
  let context: BrowserContext;
  let faults: string[];
  beforeAll(async () => {
    browser = await connectChromium();
    context = await browser.newContext({ viewport: VIEWPORT, permissions });
  });
  afterAll(() => browser?.close());
  beforeEach(async () => {
    fake = new FakeCoordinator(PAGES, makeSnapshot());
    await fake.start();
    ({ page, faults } = await openTab(context, fake.url));
  });
  afterEach(async () => {
    await page.close();
    await fake.stop();
    expect(faults).toEqual([]);
  });
}

/** Opens a page in a context of its own and records its faults. */
export async function openPage(
  browser: Browser,
  origin: string,
  options: BrowserContextOptions = {},
): Promise<{ page: Page; faults: string[] }> {
  return openTab(await browser.newContext({ viewport: VIEWPORT, ...options }), origin);
}

/** Opens a tab and records its faults: script errors, violations of the content policy, foreign requests. */
async function openTab(context: BrowserContext, origin: string): Promise<{ page: Page; faults: string[] }> {
  const page = await context.newPage();
  page.setDefaultTimeout(PAGE_TIMEOUT_MS);
  const faults: string[] = [];
  page.on('pageerror', (error) => faults.push(error.message));
  page.on('console', (message) => {
    if (/content security policy/i.test(message.text())) faults.push(message.text());
  });
  page.on('request', (request) => {
    const url = new URL(request.url());
    if (url.protocol.startsWith('http') && url.origin !== origin) faults.push(`request to ${url.origin}`);
  });
  return { page, faults };
}

/** Polls until the value matches; the deadline is generous because the machine may be busy. */
export const eventually = <T>(ask: () => T | Promise<T>) => expect.poll(ask, { timeout: PAGE_TIMEOUT_MS });

/** Widths from the narrowest telephone to a wide screen, in CSS pixels. */
export const WIDTHS = [360, 1280, 2560];

/** Resizes the window; resolves when nothing is wider than it. */
export async function expectFits(page: Page, width: number): Promise<void> {
  await page.setViewportSize({ width, height: 900 });
  await eventually(() => page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBeLessThanOrEqual(0);
}

/**
 * Checks that nothing is wider than the window at any width, and that the page is accessible at the narrowest and the widest, in both
 * colour schemes. Of the dark one only the contrast: it changes nothing else.
 */
export async function expectAccessible(page: Page, what: string): Promise<void> {
  await page.emulateMedia({ colorScheme: 'light', reducedMotion: 'reduce' });
  for (const width of WIDTHS) await expectFits(page, width);
  for (const width of [WIDTHS.at(-1)!, WIDTHS[0]!]) {
    await expectFits(page, width);
    expect(await accessFaults(page), `${what} at ${width} px`).toEqual([]);
    await page.emulateMedia({ colorScheme: 'dark', reducedMotion: 'reduce' });
    expect(await accessFaults(page, { onlyContrast: true }), `${what} at ${width} px, dark`).toEqual([]);
    await page.emulateMedia({ colorScheme: 'light', reducedMotion: 'reduce' });
  }
}

/** Opens the console of the fake coordinator as an operator. */
export async function signIn(): Promise<void> {
  await page.goto(`${fake.url}/console#token=${fake.token}`);
  await page.locator('.verdict').waitFor();
}

/** The tabs that the console's table shows, in its order. */
export const rowIds = (): Promise<string[]> => page.locator('.peers .disclose .id').allTextContents();
