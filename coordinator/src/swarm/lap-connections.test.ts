import { describe, expect, it } from 'vitest';
import { MAX_LAP_CONNECTIONS } from '@shoal/protocol';
import { LAP_CONNECTIONS, lapConnectionsOf } from './lap-connections.ts';

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

  it('does as it is told, up to what the protocol has', () => {
    expect(LAP_CONNECTIONS.slice(1).map((chosen) => lapConnectionsOf(chosen, 192))).toEqual([1, 2, 3, 4]);
    expect(Number(LAP_CONNECTIONS.at(-1))).toBe(MAX_LAP_CONNECTIONS);
  });
});
