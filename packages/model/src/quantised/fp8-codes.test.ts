import { describe, expect, it } from 'vitest';
import { e4m3Values } from './fp8-codes.ts';
import { toFloat32 } from '../safetensors.ts';

describe('float8_e4m3fn', () => {
  it('stands for what the format says, for all 256 codes', () => {
    const all = toFloat32(
      Uint8Array.from({ length: 256 }, (_, code) => code),
      'F8_E4M3',
    );
    expect(all).toEqual(e4m3Values);
    for (let code = 0; code < 256; code++) {
      const bits = code.toString(2).padStart(8, '0');
      const [sign, exponent, mantissa] = [bits[0], Number.parseInt(bits.slice(1, 5), 2), bits.slice(5)];
      if (bits.slice(1) === '1111111') {
        expect(all[code]).toBeNaN();
        continue;
      }
      // "1.mmm" or, below the smallest exponent, "0.mmm", in binary.
      const digits = Number.parseInt(`${exponent > 0 ? 1 : 0}${mantissa}`, 2) / 8;
      const value = digits * 2 ** (Math.max(exponent, 1) - 7);
      expect(all[code]).toBe(sign === '1' ? -value : value);
    }
  });

  it('has the extremes of the format: 448, 2⁻⁹ and a negative zero', () => {
    expect([e4m3Values[0x7e], e4m3Values[0x01], e4m3Values[0x38]]).toEqual([448, 2 ** -9, 1]);
    expect(Object.is(e4m3Values[0x80], -0)).toBe(true);
    expect([...e4m3Values].filter(Number.isNaN)).toHaveLength(2);
  });
});
