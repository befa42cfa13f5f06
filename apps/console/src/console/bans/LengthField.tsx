import type { Signal } from '@preact/signals';
import { useId } from 'preact/hooks';
import { LENGTHS } from './lengths.ts';

/** Asks how long somebody is kept out. */
export function LengthField({ label, minutes }: { label: string; minutes: Signal<number | null> }) {
  const id = useId();
  return (
    <div>
      <label for={id}>{label}</label>{' '}
      <select
        id={id}
        value={String(minutes.value)}
        onChange={({ currentTarget: { value } }) => (minutes.value = value === 'null' ? null : Number(value))}
      >
        {LENGTHS.map(([value, words]) => (
          <option key={words} value={String(value)}>
            {words}
          </option>
        ))}
      </select>
    </div>
  );
}

/** Asks why; the donor reads it. */
export function ReasonField({ reason }: { reason: Signal<string> }) {
  const id = useId();
  return (
    <div>
      <label for={id}>Reason, as the donor reads it</label>{' '}
      <input
        id={id}
        type="text"
        maxLength={200}
        autocomplete="off"
        value={reason.value}
        onInput={({ currentTarget: { value } }) => (reason.value = value)}
      />
    </div>
  );
}
