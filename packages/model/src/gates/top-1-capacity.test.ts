import { describe, expect, it } from 'vitest';
import { openGate } from './index.ts';

/** Logits of rows that each prefer one expert of four. */
const preferring = (experts: number[]) =>
  Float32Array.from(experts.flatMap((expert) => [0, 1, 2, 3].map((e) => (e === expert ? 2 : 0))));
const layer = { layer: 0, numExperts: 4 };

describe('gate top-1-capacity', () => {
  it('drops the later rows of an expert that is full, and leaves the others alone', () => {
    const rows = { numRows: 6, logits: preferring([1, 1, 0, 1, 3, 1]) };
    const { experts, rowEnd, dropped } = openGate('top-1-capacity', { capacity: 2 }, layer)(rows);
    expect([...rowEnd]).toEqual([1, 2, 3, 3, 4, 4]);
    expect([...experts]).toEqual([1, 1, 0, 3]);
    expect(dropped).toEqual([
      { row: 3, expert: 1 },
      { row: 5, expert: 1 },
    ]);
  });

  it('has room for (rows / experts) × factor, rounded down, and for one at least', () => {
    const rows = { numRows: 8, logits: preferring(Array(8).fill(2)) };
    const kept = (capacityFactor: number) => openGate('top-1-capacity', { capacityFactor }, layer)(rows).experts.length;
    expect([0.1, 1, 1.25, 1.5, 2, 100].map(kept)).toEqual([1, 2, 2, 3, 4, 8]);
  });

  it.each([
    [{ capacityFactor: 0 }, 'capacityFactor is 0'],
    [{ capacityFactor: -1 }, 'capacityFactor is -1'],
    [{ capacityFactor: Number.NaN }, 'capacityFactor is NaN'],
    [{ capacity: 0 }, 'capacity is 0'],
    [{ capacity: 1.5 }, 'capacity is 1.5'],
  ])('refuses %j by name', (settings, problem) => {
    expect(() => openGate('top-1-capacity', settings, layer)).toThrow(`gate top-1-capacity: ${problem}`);
  });
});
