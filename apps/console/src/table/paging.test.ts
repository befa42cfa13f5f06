import { describe, expect, it } from 'vitest';
import { orderBy, pageOf, search, sortRows } from './paging.ts';

const numbers = Array.from({ length: 7 }, (_, i) => i);

describe('pages', () => {
  it('show what is there, and the last page where fewer are left than asked for', () => {
    expect(pageOf(numbers, 1, 3)).toEqual({ rows: [3, 4, 5], page: 1, pages: 3, first: 4 });
    expect(pageOf(numbers, 9, 3)).toEqual({ rows: [6], page: 2, pages: 3, first: 7 });
    expect(pageOf([], 0, 3)).toEqual({ rows: [], page: 0, pages: 1, first: 0 });
    expect(pageOf(numbers, -1, 10).page).toBe(0);
  });
});

describe('search', () => {
  it('finds rows with all words, in any order and case', () => {
    const rows = ['tab-1 working Apple', 'tab-2 loading apple', 'tab-3 working nvidia'];
    expect(search(rows, ' APPLE  tab-2', String)).toEqual([rows[1]]);
    expect(search(rows, '', String)).toBe(rows);
    expect(search(rows, 'pear', String)).toEqual([]);
  });
});

describe('order', () => {
  it('turns round, begins figures with the largest, and puts what is unknown last', () => {
    const first = orderBy({ column: 'a', direction: 'ascending' }, 'b', true);
    expect(first).toEqual({ column: 'b', direction: 'descending' });
    expect(orderBy(first, 'b', true).direction).toBe('ascending');
    expect(sortRows([2, null, 10, 1], (n) => n, 'descending')).toEqual([10, 2, 1, null]);
    expect(sortRows(['t10', null, 't9'], (t) => t, 'ascending')).toEqual(['t9', 't10', null]);
  });
});
