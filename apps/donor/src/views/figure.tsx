import type { ComponentChildren } from 'preact';

/** One entry of a list of figures: a name, a large value, and a note below it. */
export function Figure({ name, value, children }: { name: string; value: string; children?: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>
        <strong>{value}</strong>
        {children && <span>{children}</span>}
      </dd>
    </div>
  );
}
