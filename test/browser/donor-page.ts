import { mkdir, mkdtemp, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Page } from 'playwright';
import { build } from 'vite';

/** Builds the donor's page into a folder of its own, so that nobody's `dist` changes under them. */
export async function buildDonorPage(): Promise<string> {
  const outDir = await mkdtemp(join(tmpdir(), 'shoal-donor-page-'));
  const configFile = join(import.meta.dirname, '../../apps/donor/vite.config.ts');
  await build({ configFile, logLevel: 'warn', build: { outDir, emptyOutDir: true } });
  return outDir;
}

export interface AxeViolation {
  id: string;
  nodes: string[];
}

/** WCAG A and AA, as axe-core tells them. */
export async function axeViolations(page: Page): Promise<AxeViolation[]> {
  const source = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
  // In a way that the page's content policy has no say in.
  await page.evaluate(source);
  return page.evaluate(async () => {
    const { axe } = globalThis as unknown as {
      axe: {
        run: (
          context: Document,
          options: object,
        ) => Promise<{ violations: { id: string; nodes: { html: string; failureSummary: string }[] }[] }>;
      };
    };
    const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'];
    const { violations } = await axe.run(document, { runOnly: { type: 'tag', values: tags } });
    return violations.map(({ id, nodes }) => ({
      id,
      nodes: nodes.map((node) => `${node.html}: ${node.failureSummary}`),
    }));
  });
}

/** Pictures of a state for people to look at, if SHOAL_SCREENSHOTS names a folder. */
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
