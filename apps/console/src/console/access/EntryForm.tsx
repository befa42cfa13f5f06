import { useSignal } from '@preact/signals';
import type { AccessKind, EntryViews } from '@shoal/protocol';
import type { ComponentChildren } from 'preact';
import { useId } from 'preact/hooks';
import { changesOf, type Field, FIELDS, type Values, valuesOf } from './fields.ts';

interface FormProps<Kind extends AccessKind> {
  kind: Kind;
  /** What the form begins with; undefined for a new entry, which is asked for a name. */
  entry?: EntryViews[Kind];
  action: string;
  /** The fields that were changed, `name` among them for a new entry. Resolves with whether that was done. */
  onSend: (changes: Record<string, unknown>) => Promise<boolean>;
  children?: ComponentChildren;
}

/** The limits of an API key or invitation, or the role of an admin. */
export function EntryForm<Kind extends AccessKind>({ kind, entry, action, onSend, children }: FormProps<Kind>) {
  const before = valuesOf(kind, entry);
  const name = useSignal('');
  const values = useSignal<Values>(before);
  const busy = useSignal(false);
  const send = async (): Promise<void> => {
    const changes = changesOf(kind, values.value, before);
    busy.value = true;
    const isDone = await onSend(entry ? changes : { name: name.value.trim(), ...changes });
    busy.value = false;
    if (isDone && !entry) {
      name.value = '';
      values.value = before;
    }
  };
  return (
    <form
      class="entry-form"
      onSubmit={(event) => {
        event.preventDefault();
        void send();
      }}
    >
      {!entry && <NameField value={name.value} onValue={(value) => (name.value = value)} />}
      {FIELDS[kind].map((field) => (
        <EntryField
          key={field.name}
          field={field}
          value={values.value[field.name] ?? ''}
          onValue={(value) => (values.value = { ...values.value, [field.name]: value })}
        />
      ))}
      <p class="actions">
        <button type="submit" class={entry ? undefined : 'primary'} disabled={busy.value}>
          {action}
        </button>
        {children}
      </p>
    </form>
  );
}

function NameField({ value, onValue }: { value: string; onValue: (value: string) => void }) {
  const id = useId();
  return (
    <div>
      <label for={id}>Name</label>
      <input
        id={id}
        value={value}
        required
        maxLength={40}
        pattern="[A-Za-z0-9_.\-]+"
        title="1 to 40 letters, digits, “.”, “_” or “-”; it appears in logs and metrics"
        autocomplete="off"
        onInput={(event) => onValue(event.currentTarget.value)}
      />
    </div>
  );
}

function EntryField({ field, value, onValue }: { field: Field; value: string; onValue: (value: string) => void }) {
  const id = useId();
  const { label, type } = field;
  const shared = {
    id,
    value,
    onInput: (event: { currentTarget: { value: string } }) => onValue(event.currentTarget.value),
  };
  return (
    <div>
      <label for={id}>{label}</label>
      {type === 'role' && (
        <select {...shared}>
          <option value="operator">operator</option>
          <option value="viewer">viewer (sees, changes nothing)</option>
        </select>
      )}
      {type === 'number' && <input type="number" min={1} step={1} placeholder="no limit" {...shared} />}
      {type === 'datetime-local' && <input type="datetime-local" {...shared} />}
      {type === 'text' && <input type="text" maxLength={200} autocomplete="off" {...shared} />}
    </div>
  );
}
