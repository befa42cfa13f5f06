import type { ComponentChildren } from 'preact';

/** A table that scrolls where it is too wide. All columns but the first have numbers. */
export function FigureTable(props: { label: string; heads: readonly string[]; children: ComponentChildren }) {
  const { label, heads, children } = props;
  return (
    <div class="table-scroll" role="group" aria-label={label} tabIndex={0}>
      <table>
        <thead>
          <tr>
            {heads.map((head, i) => (
              <th scope="col" class={i > 0 ? 'numeric' : ''}>
                {head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  );
}
