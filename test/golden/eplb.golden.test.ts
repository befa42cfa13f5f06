import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type EplbOptions, EplbError, rebalanceExperts } from '../../tools/simulate/eplb.ts';
import { describe, expect, it } from 'vitest';

interface EplbCase {
  name: string;
  load: number[][];
  options: EplbOptions;
  expertOfSlot: number[][];
}

/** The example that EPLB publishes, and cases from an independent implementation that reproduces it. */
const cases = JSON.parse(readFileSync(join(import.meta.dirname, 'fixtures/eplb.json'), 'utf8')) as EplbCase[];

describe('EPLB', () => {
  it('has the published example among its cases', () => {
    expect(cases[0]!.name).toBe('published example');
    expect(cases[0]!.expertOfSlot[0]).toEqual([5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1]);
  });

  it.each(cases)('$name', ({ load, options, expertOfSlot }) => {
    const plan = rebalanceExperts(load, options);
    expect(plan.expertOfSlot).toEqual(expertOfSlot);
    for (const [layer, slots] of expertOfSlot.entries()) {
      expect(plan.replicas[layer]).toEqual(load[layer]!.map((_, e) => slots.filter((expert) => expert === e).length));
    }
  });

  it('names what does not divide', () => {
    const options = { numReplicas: 16, numGroups: 4, numNodes: 2, numDevices: 8 };
    const load = [Array.from({ length: 12 }, () => 1)];
    expect(() => rebalanceExperts(load, { ...options, numDevices: 7 })).toThrow(EplbError);
    expect(() => rebalanceExperts(load, { ...options, numReplicas: 8 })).toThrow('fewer than the 12 experts');
    expect(() => rebalanceExperts([[1, 2, 3]], options)).toThrow('3 experts do not divide over 4 groups');
  });
});
