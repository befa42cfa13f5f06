import { useSignal } from '@preact/signals';
import type { Result } from './adapter-words.ts';
import { command, LOAD_DEADLINE_MS } from './connection.ts';

const FIELDS = [
  { name: 'path', label: 'Folder in --adapter-dir', hint: 'letters', required: true },
  { name: 'name', label: 'Name (the folder’s by default)', hint: '', required: false },
  { name: 'description', label: 'What it is for (what the folder says by default)', hint: '', required: false },
] as const;
const EMPTY = { path: '', name: '', description: '' };

/** A form that loads an adapter. */
export function LoadAdapter({ onResult }: { onResult: (result: Result) => void }) {
  const values = useSignal<Readonly<Record<keyof typeof EMPTY, string>>>(EMPTY);
  const busy = useSignal(false);
  const load = async (): Promise<void> => {
    const path = values.value.path.trim();
    const name = values.value.name.trim() || (path.replace(/\/+$/, '').split('/').at(-1) ?? path);
    const description = values.value.description.trim();
    busy.value = true;
    const asked = { command: 'load-adapter' as const, name, path, ...(description !== '' && { description }) };
    const reply = await command(asked, LOAD_DEADLINE_MS);
    busy.value = false;
    if (reply.ok) values.value = EMPTY;
    onResult(reply.ok ? { ok: true, text: `${name} was loaded.` } : { ok: false, text: `${name}: ${reply.message}` });
  };
  return (
    <form
      class="load-adapter"
      onSubmit={(event) => {
        event.preventDefault();
        void load();
      }}
    >
      {FIELDS.map(({ name, label, hint, required }) => (
        <div class={name}>
          <label for={`adapter-${name}`}>{label}</label>
          <input
            id={`adapter-${name}`}
            value={values.value[name]}
            placeholder={hint}
            required={required}
            maxLength={1024}
            autocomplete="off"
            onInput={(event) => (values.value = { ...values.value, [name]: event.currentTarget.value })}
          />
        </div>
      ))}
      <button type="submit" class="primary" disabled={busy.value}>
        {busy.value ? 'Loading…' : 'Load'}
      </button>
    </form>
  );
}
