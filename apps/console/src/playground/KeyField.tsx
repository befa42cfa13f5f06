import { useEffect, useRef } from 'preact/hooks';
import { apiKey, setApiKey } from './api-key.ts';

/** After the last character. When the field is left is too late: what then moves the page may do so during a click. */
const TYPED_MS = 300;

/** `onKey` is called when another key was typed. */
export function KeyField({ onKey }: { onKey: () => void }) {
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  return (
    <div class="card key">
      <label for="field-key">API key</label>
      <input
        id="field-key"
        type="password"
        autocomplete="off"
        value={apiKey.value}
        aria-describedby="key-hint"
        onInput={(event) => {
          setApiKey(event.currentTarget.value);
          clearTimeout(timer.current);
          timer.current = setTimeout(onKey, TYPED_MS);
        }}
      />
      <span class="muted" id="key-hint">
        This coordinator requires a key. It stays in this tab and is forgotten when you close it.
      </span>
    </div>
  );
}
