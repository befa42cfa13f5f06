import { join } from 'node:path';
import type { Mermaid } from 'mermaid';
import type { Browser, Page } from 'playwright';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { mermaidBlocks } from '../../tools/lint/docs.ts';
import { ROOT, sourceFiles } from '../../tools/lint/source-files.ts';
import { connectChromium } from './shared-chromium.ts';

declare const mermaid: Mermaid;

const diagrams = sourceFiles(['.md']).flatMap(({ path, text }) =>
  mermaidBlocks(text).map((source, i) => ({ name: `${path}, diagram ${i + 1}`, path, source })),
);

let browser: Browser;
let page: Page;

beforeAll(async () => {
  browser = await connectChromium();
  page = await browser.newPage();
  await page.addScriptTag({ path: join(ROOT, 'node_modules/mermaid/dist/mermaid.min.js') });
});
afterAll(() => browser?.close());

it('ARCHITECTURE.md has two diagrams: the way of a token and of a lap', () => {
  expect(diagrams.filter(({ path }) => path === 'ARCHITECTURE.md').length).toBeGreaterThanOrEqual(2);
});

it('every mermaid diagram in the docs renders', async () => {
  for (const { name, source } of diagrams) {
    const rendered = await page.evaluate(
      (text) => mermaid.render('diagram', text).then(({ svg }) => svg.length, String),
      source,
    );
    expect({ name, rendered }).toEqual({ name, rendered: expect.any(Number) });
  }
});

it('mermaid refuses what is no diagram, so that the test above means something', async () => {
  const rendered = await page.evaluate(() =>
    mermaid.render('broken', 'flowchart LR\n  a --> ').then(() => 'ok', String),
  );
  expect(rendered).toMatch(/error/i);
});
