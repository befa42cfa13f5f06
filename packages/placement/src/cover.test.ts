import { describe, expect, it } from 'vitest';
import { coverAssignments } from './cover.ts';

const candidate = (peer: string, experts: number[], cost = 1) => ({
  peer,
  has: (e: number) => experts.includes(e),
  cost,
});

describe('coverAssignments', () => {
  it('asks one peer where one holds everything', () => {
    const chosen = coverAssignments(
      [1, 2, 3, 1],
      [candidate('a', [1, 2]), candidate('b', [1, 2, 3]), candidate('c', [3])],
    );
    expect([...chosen]).toEqual([1, 1, 1, 1]);
  });

  it('prefers the cheaper of two equals', () => {
    expect([...coverAssignments([7, 7], [candidate('a', [7], 5), candidate('b', [7], 2)])]).toEqual([1, 1]);
  });

  it('counts rows, not experts: the peer with the busier expert goes first', () => {
    const chosen = coverAssignments([1, 1, 1, 2], [candidate('a', [2]), candidate('b', [1])]);
    expect([...chosen]).toEqual([1, 1, 1, 0]);
  });

  it('leaves what nobody holds to the caller', () => {
    expect([...coverAssignments([4, 9], [candidate('a', [4])])]).toEqual([0, -1]);
    expect([...coverAssignments([4], [])]).toEqual([-1]);
  });
});
