import { expect, it } from 'vitest';
import { formatBytes, formatDuration, formatLayers, formatMemory, formatMs, formatPlural } from './format.ts';

it('gives what travels in decimal units', () => {
  expect([0, 999, 74_000, 1_800_000, 212e6, 1.25e9].map(formatBytes)).toEqual([
    '0 B',
    '999 B',
    '74 kB',
    '1.8 MB',
    '212 MB',
    '1.3 GB',
  ]);
});

it('gives memory in binary units', () => {
  expect([0, 1.5 * 2 ** 20, 128 * 2 ** 20, 2 ** 30, 1.5 * 2 ** 30].map(formatMemory)).toEqual([
    '0 MiB',
    '1.5 MiB',
    '128 MiB',
    '1 GiB',
    '1.5 GiB',
  ]);
});

it('gives times as one says them', () => {
  expect([0, 46, 89, 180, 7500].map(formatDuration)).toEqual(['0 s', '46 s', '89 s', '3 min', '2 h 5 min']);
  expect([0.42, 23.4, 1204].map(formatMs)).toEqual(['0.4 ms', '23 ms', '1,204 ms']);
});

it('joins neighbouring layers, whatever their order', () => {
  const plain = (layers: number[]) => formatLayers(layers).replaceAll('\u2060', '');
  expect(plain([3])).toBe('layer 3');
  expect(plain([5, 3, 4])).toBe('layers 3–5');
  expect(plain([9, 3, 4, 4, 11, 12])).toBe('layers 3–4, 9, 11–12');
  expect(formatPlural(1, 'expert')).toBe('1 expert');
  expect(formatPlural(1280, 'expert')).toBe('1,280 experts');
});
