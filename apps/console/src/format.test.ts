import { describe, expect, it } from 'vitest';
import {
  formatBytes,
  formatCount,
  formatDuration,
  formatFigure,
  formatMemory,
  formatMs,
  formatRanges,
  formatShare,
  plural,
} from './format.ts';

describe('figures', () => {
  it('keeps three significant digits at most below a thousand', () => {
    expect([0, 0.042, 4.236, 42.36, 423.6, 42_361].map(formatFigure)).toEqual([
      '0',
      '0.04',
      '4.24',
      '42.4',
      '424',
      '42,361',
    ]);
  });
  it('counts traffic in thousands and memory in 1024s', () => {
    expect(formatBytes(999)).toBe('999 B');
    expect(formatBytes(20_480)).toBe('20.5 kB');
    expect(formatBytes(3_997_696)).toBe('4.00 MB');
    expect(formatMemory(2 ** 30)).toBe('1.00 GiB');
    expect(formatMemory(1023)).toBe('1,023 B');
    expect(formatMemory(2 ** 60)).toBe('1,048,576 TiB');
  });
  it('never rounds a share to none or all of it', () => {
    expect([0, 0.0004, 0.256, 0.9999, 1].map(formatShare)).toEqual(['0 %', '< 0.1 %', '25.6 %', '> 99.9 %', '100 %']);
  });
  it('writes times with their units', () => {
    expect(formatMs(0.5)).toBe('0.50 ms');
    expect(formatMs(12_345)).toBe('12.3 s');
    expect([-5, 59_999, 61_000, 3_500_000, 3_725_000, 90_000_000].map(formatDuration)).toEqual([
      '0 s',
      '59 s',
      '1 min 1 s',
      '58 min',
      '1 h 2 min',
      '1 d 1 h',
    ]);
  });
  it('joins runs of numbers, in whatever order they come', () => {
    expect(formatRanges([])).toBe('');
    expect(formatRanges([7, 3, 5, 4, 4])).toBe('3–5, 7');
    expect(formatRanges([1, 2])).toBe('1–2');
  });
  it('writes whole counts without decimals', () => {
    expect([5, 5.25, 1234].map(formatCount)).toEqual(['5', '5.25', '1,234']);
  });
  it('counts nouns', () => {
    expect([plural(1, 'tab'), plural(0, 'tab'), plural(2, 'entry', 'entries')]).toEqual([
      '1 tab',
      '0 tabs',
      '2 entries',
    ]);
  });
});
