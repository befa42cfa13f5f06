import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { fixtures } from './testing/fixtures.ts';
import * as limits from './limits.ts';

const doc = readFileSync(new URL('../../../docs/PROTOCOL.md', import.meta.url), 'utf8');
/** Cells of all table rows; prettier may pad them. */
const rows = doc
  .split('\n')
  .filter((line) => line.startsWith('|'))
  .map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );

describe('PROTOCOL.md', () => {
  it.each(Object.keys(fixtures) as (keyof typeof fixtures)[])('shows the %s fixture, byte by byte', (name) => {
    let offset = 0;
    for (const [hex = '', field = ''] of fixtures[name].bytes) {
      expect(rows).toContainEqual([String(offset), `\`${hex}\``, field]);
      offset += hex.replaceAll(' ', '').length / 2;
    }
  });

  it.each(Object.entries(limits))('states %s', (name, value) => {
    expect(rows).toContainEqual([`\`${name}\``, String(value), expect.any(String)]);
  });
});
