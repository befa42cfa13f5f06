import { describe, expect, it } from 'vitest';
import { lapConnectionsOf } from './lap-connections.ts';

describe('lapConnectionsOf', () => {
  it.each([
    ['the default model', 192, 'f16', 1],
    ['V2-Lite', 2048, 'f16', 1],
    ['Qwen3-235B-A22B', 4096, 'f16', 4],
    ['Qwen3-235B-A22B', 4096, 'int8', 1],
    ['DeepSeek-V3', 7168, 'f16', 4],
    ['DeepSeek-V3', 7168, 'int8', 4],
  ] as const)('for %s (hidden size %i, %s) says %i', (_, hiddenSize, rowFormat, expected) => {
    expect(lapConnectionsOf('auto', hiddenSize, rowFormat)).toBe(expected);
  });

  it('uses a given number', () => {
    const chosen = ['1', '2', '3', '4'] as const;
    expect(chosen.map((count) => lapConnectionsOf(count, 192, 'f16'))).toEqual([1, 2, 3, 4]);
  });
});
