export interface Page<T> {
  rows: T[];
  /** From 0; the last one where there are fewer than asked for. */
  page: number;
  pages: number;
  /** Number of the first row shown, from 1; 0 where there is none. */
  first: number;
}

/** The rows of a page. */
export function pageOf<T>(all: readonly T[], asked: number, size: number): Page<T> {
  const pages = Math.max(1, Math.ceil(all.length / size));
  const page = Math.min(Math.max(0, asked), pages - 1);
  const rows = all.slice(page * size, (page + 1) * size);
  return { rows, page, pages, first: rows.length === 0 ? 0 : page * size + 1 };
}

/** Rows whose text has every word of the search, in any order and case. */
export function search<T>(all: readonly T[], asked: string, textOf: (row: T) => string): readonly T[] {
  const words = asked.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return all;
  return all.filter((row) => {
    const text = textOf(row).toLowerCase();
    return words.every((word) => text.includes(word));
  });
}

export interface SortOrder<Column extends string> {
  column: Column;
  direction: 'ascending' | 'descending';
}

/** Reverses the order if the column is already selected; otherwise figures start with the largest, words with A. */
export function orderBy<Column extends string>(
  order: SortOrder<Column> | null,
  column: Column,
  isNumeric: boolean,
): SortOrder<Column> {
  if (order?.column !== column) return { column, direction: isNumeric ? 'descending' : 'ascending' };
  return { column, direction: order.direction === 'ascending' ? 'descending' : 'ascending' };
}

/** Unknown values come last in either direction, and equal ones keep the order that they have. */
export function sortRows<T>(
  all: readonly T[],
  keyOf: (row: T) => string | number | null,
  direction: SortOrder<string>['direction'],
): T[] {
  const sign = direction === 'ascending' ? 1 : -1;
  return [...all].sort((a, b) => {
    const [x, y] = [keyOf(a), keyOf(b)];
    if (x === null || y === null) return x === y ? 0 : x === null ? 1 : -1;
    if (typeof x === 'number' && typeof y === 'number') return sign * (x - y);
    return sign * String(x).localeCompare(String(y), 'en', { numeric: true });
  });
}
