import axe from 'axe-core';
import type { Frame, Page } from 'playwright';

const WCAG = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'];

/** Returns axe-core's findings for the page by WCAG 2.2 A and AA and, by default, by its best practices. */
export async function accessFaults(page: Page | Frame, { bestPractice = true } = {}): Promise<string[]> {
  // Evaluated, not added as a script, since the page's content policy would forbid that.
  if (!(await page.evaluate(() => 'axe' in window))) await page.evaluate(axe.source);
  return page.evaluate(
    async (tags) => {
      const { axe } = window as unknown as { axe: typeof import('axe-core') };
      const { violations } = await axe.run(document, { runOnly: { type: 'tag', values: tags } });
      return violations.flatMap(({ id, nodes }) =>
        nodes.map((node) => `${id}: ${node.html.slice(0, 200)}: ${node.failureSummary ?? ''}`),
      );
    },
    bestPractice ? [...WCAG, 'best-practice'] : WCAG,
  );
}
