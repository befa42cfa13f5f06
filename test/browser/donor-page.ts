import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Page } from 'playwright';
import { accessFaults } from './access-faults.ts';

/** The donor's page, which `npm test` builds where its sources have changed. */
export const DONOR_PAGE = join(import.meta.dirname, '../../apps/donor/dist');

/** WCAG A and AA, without axe-core's best practices. */
export const axeViolations = (page: Page): Promise<string[]> => accessFaults(page, { bestPractice: false });

/** Takes pictures of a state if SHOAL_SCREENSHOTS names a folder. */
export async function shoot(page: Page, name: string): Promise<void> {
  const folder = process.env['SHOAL_SCREENSHOTS'];
  if (!folder) return;
  await mkdir(folder, { recursive: true });
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme });
    for (const [width, height] of [
      [360, 780],
      [1280, 800],
    ] as const) {
      await page.setViewportSize({ width, height });
      await page.screenshot({ path: join(folder, `${name}-${width}-${colorScheme}.png`), fullPage: true });
    }
  }
  await page.emulateMedia({ colorScheme: 'light' });
}

export async function waitForPhase(page: Page, ...phases: string[]): Promise<void> {
  await page.waitForFunction((wanted) => wanted.includes(document.documentElement.dataset['phase'] ?? ''), phases, {
    timeout: 90_000,
  });
}
