import type { Signal } from '@preact/signals';
import { orderBy, type SortOrder } from './paging.ts';

interface HeadingProps<Column extends string> {
  id: Column;
  name: string;
  title?: string | undefined;
  isNumeric?: boolean | undefined;
  /** Null: in the order in which rows come. */
  order: Signal<SortOrder<Column>> | Signal<SortOrder<Column> | null>;
}

/** A column's heading, by which the table is sorted. */
export function SortHeading<Column extends string>({
  id,
  name,
  title,
  isNumeric = false,
  order,
}: HeadingProps<Column>) {
  const sorted = order.value?.column === id ? order.value.direction : undefined;
  return (
    <th
      role="columnheader"
      scope="col"
      aria-sort={sorted ?? 'none'}
      data-column={id}
      class={isNumeric ? 'sort numeric' : 'sort'}
    >
      <button type="button" title={title} onClick={() => (order.value = orderBy(order.value, id, isNumeric))}>
        {name}
        <span class="arrow" aria-hidden="true">
          {sorted === 'ascending' ? '▲' : sorted === 'descending' ? '▼' : ''}
        </span>
      </button>
    </th>
  );
}
