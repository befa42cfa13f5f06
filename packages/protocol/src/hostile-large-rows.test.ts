import { describe, expect, it } from 'vitest';
import type { FrameErrorReason } from './index.ts';
import { append, type Edit, hostile, u16 } from './testing/hostile.ts';

describe('a hostile dispatch with large rows', () => {
  const u8 =
    (at: number, value: number): Edit =>
    (bytes) =>
      void (bytes[at] = value);

  it.each<[string, FrameErrorReason, Edit]>([
    ['an exponent beyond float32', 'bad-code', u8(44, 113)],
    ['the exponent of a row without a sum', 'bad-code', u8(44, 0xff)],
    ['no exponents', 'truncated', (bytes) => bytes.slice(0, -2)],
    ['a byte behind it', 'oversized', append],
  ])('in f16, %s is %s', (_, reason, edit) => {
    expect(hostile('dispatch-large', edit)).toBe(reason);
  });

  it.each<[string, FrameErrorReason, Edit]>([
    ['an exponent beyond float32', 'bad-code', u8(53, 113)],
    ['more outliers than there are', 'truncated', u16(12, 2)],
    ['as many as fit the field', 'truncated', u16(12, 0xffff)],
    ['fewer than there are', 'oversized', u16(12, 0)],
    ['more in its rows than in all', 'bad-order', u16(44, 1)],
    ['fewer in its rows than in all', 'bad-order', u16(46, 0)],
    ['an outlier beyond the row', 'bad-order', u16(48, 3)],
    ['an outlier that has a code too', 'bad-code', u16(48, 1)],
    ['an outlier of ∞', 'not-finite', u16(50, 0x7c00)],
    ['an outlier that is NaN', 'not-finite', u16(50, 0xffff)],
    ['a byte behind it', 'oversized', append],
  ])('in int8, %s is %s', (_, reason, edit) => {
    expect(hostile('dispatch-large-int8', edit)).toBe(reason);
  });

  it.each<[string, FrameErrorReason, Edit]>([
    ['an exponent beyond float32', 'bad-code', u8(20, 113)],
    ['the last one that is unused', 'bad-code', u8(20, 0xfe)],
    ['values in a row without a sum', 'bad-code', u16(14, 1)],
    ['a sum of ∞', 'not-finite', u16(8, 0x7c00)],
    ['a byte behind it', 'oversized', append],
  ])('a combine with %s is %s', (_, reason, edit) => {
    expect(hostile('combine-large', edit)).toBe(reason);
  });

  it('a combine in int8 with an outlier in a row without a sum is bad-code', () => {
    const edit: Edit = (bytes, view) => {
      view.setUint16(20, 0, true);
      view.setUint16(22, 1, true);
    };
    expect(hostile('combine-large-int8', edit)).toBe('bad-code');
  });
});
