import type { Signal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { formatNumber } from '../format.ts';
import type { Page } from './paging.ts';

/** What is looked for in a table, and which page of what is found is shown. */
export interface TableView {
  search: Signal<string>;
  page: Signal<number>;
}

interface BarProps {
  view: TableView;
  /** What is searched, as in "Search tabs". */
  noun: string;
  shown: Page<unknown>;
  found: number;
  /** Before the search. */
  all: number;
  children?: ComponentChildren;
}

/** The search field of a table with the number of rows, and buttons for its pages where it has several. */
export function TableBar({ view, noun, shown, found, all, children }: BarProps) {
  const { first, rows } = shown;
  return (
    <div class="filters">
      <label>
        Search {noun}{' '}
        <input
          type="search"
          value={view.search.value}
          maxLength={200}
          onInput={(event) => {
            view.search.value = event.currentTarget.value;
            view.page.value = 0;
          }}
        />
      </label>
      {children}
      <span class="push" role="status">
        {countWords({ found, all, first, last: first + rows.length - 1, noun })}
      </span>
      <Pages noun={noun} shown={shown} page={view.page} />
    </div>
  );
}

/** Buttons for the pages of a table; nothing where it has one. */
export function Pages({
  noun,
  shown: { page, pages },
  page: asked,
}: {
  noun: string;
  shown: Page<unknown>;
  page: Signal<number>;
}) {
  if (pages === 1) return null;
  return (
    <nav class="pages" aria-label={`Pages of ${noun}`}>
      <button type="button" disabled={page === 0} onClick={() => (asked.value = page - 1)}>
        Previous
      </button>
      <span>
        {page + 1} of {pages}
      </span>
      <button type="button" disabled={page === pages - 1} onClick={() => (asked.value = page + 1)}>
        Next
      </button>
    </nav>
  );
}

function countWords({
  found,
  all,
  first,
  last,
  noun,
}: Record<'found' | 'all' | 'first' | 'last', number> & { noun: string }) {
  const of = found === all ? `${formatNumber(all)} ${noun}` : `${formatNumber(found)} of ${formatNumber(all)} ${noun}`;
  return last - first + 1 < found ? `${first}–${last} of ${of}` : of;
}
