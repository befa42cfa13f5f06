import { apiKey, setApiKey } from './api-key.ts';

/** `onKey` is called when another key was typed. */
export function KeyField({ onKey }: { onKey: () => void }) {
  return (
    <div class="card key">
      <label for="field-key">API key</label>
      <input
        id="field-key"
        type="password"
        autocomplete="off"
        value={apiKey.value}
        aria-describedby="key-hint"
        onChange={(event) => {
          setApiKey(event.currentTarget.value);
          onKey();
        }}
      />
      <span class="muted" id="key-hint">
        This coordinator requires a key. It stays in this tab and is forgotten when you close it.
      </span>
    </div>
  );
}
