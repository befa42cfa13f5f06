import { expect, it } from 'vitest';
import { pictureOf } from './picture.ts';

it('shows names as text, whatever is in them', () => {
  const facts = { tokens: 1234.5, week: 12, seconds: 7200, model: 'tiny' };
  const svg = pictureOf({ ...facts, name: `<script>"&'`, team: '</text><a href="x">' });
  expect(svg).toContain('&lt;script&gt;&quot;&amp;&#39;');
  expect(svg).not.toMatch(/<script|<a /);
  expect(svg).toContain('1,234 tokens');
  expect(svg.match(/<text/g)).toHaveLength(4);
  expect(svg.match(/<\/text>/g)).toHaveLength(4);
});
