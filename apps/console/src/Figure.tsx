import type { ComponentChildren } from 'preact';
import { NOTHING } from './format.ts';

/** A value as text, or a dash that explains why there is none. */
export function Figure(props: { value: number | null; format: (value: number) => string; why?: string }) {
  if (props.value !== null) return <>{props.format(props.value)}</>;
  const why = props.why ?? 'Not measured yet';
  return (
    <span class="nothing" title={why}>
      <span aria-hidden="true">{NOTHING}</span>
      <span class="sr">{why}</span>
    </span>
  );
}

export function Tile(props: { label: string; children: ComponentChildren }) {
  return (
    <div class="tile">
      <dt>{props.label}</dt>
      <dd>{props.children}</dd>
    </div>
  );
}

/** Compares a measured amount with its floor or alternative: two bars on one scale, with figures. */
export function Against(props: {
  rows: { name: string; value: number | null; text: string; kind: 'ours' | 'reference' }[];
}) {
  const most = Math.max(...props.rows.map((row) => row.value ?? 0), Number.MIN_VALUE);
  return (
    <dl class="against">
      {props.rows.map((row) => (
        <div>
          <dt>{row.name}</dt>
          <dd>{row.value === null ? <Figure value={null} format={String} /> : row.text}</dd>
          <span class="track" aria-hidden="true">
            <span class={`bar ${row.kind}`} style={{ width: `${((row.value ?? 0) / most) * 100}%` }} />
          </span>
        </div>
      ))}
    </dl>
  );
}
