import axe from 'axe-core';
import type { Frame, Page } from 'playwright';

const WCAG = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'];

export interface AccessOptions {
  /** Also axe-core's best practices. */
  bestPractice?: boolean;
  /** Only the contrast of texts: what a colour scheme changes of a page that was looked at in the other one. */
  onlyContrast?: boolean;
}

/** Returns axe-core's findings for the page by WCAG 2.2 A and AA and, by default, by its best practices. */
export async function accessFaults(page: Page | Frame, options: AccessOptions = {}): Promise<string[]> {
  const { bestPractice = true, onlyContrast = false } = options;
  // Evaluated, not added as a script, since the page's content policy would forbid that.
  if (!(await page.evaluate(() => 'axe' in window))) await page.evaluate(axe.source);
  const tags = bestPractice ? [...WCAG, 'best-practice'] : WCAG;
  return page.evaluate(
    async (runOnly) => {
      const { axe } = window as unknown as { axe: typeof import('axe-core') };
      // What passes is not looked at, and the rules that read media belong to pages with any: half of the time.
      const { violations } = await axe.run(document, { runOnly, resultTypes: ['violations'], preload: false });
      return violations.flatMap(({ id, nodes }) =>
        nodes.map((node) => `${id}: ${node.html.slice(0, 200)}: ${node.failureSummary ?? ''}`),
      );
    },
    onlyContrast ? { type: 'rule' as const, values: ['color-contrast'] } : { type: 'tag' as const, values: tags },
  );
}
