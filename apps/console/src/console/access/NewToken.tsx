import { useSignal } from '@preact/signals';
import type { AccessKind } from '@shoal/protocol';
import { useEffect, useRef } from 'preact/hooks';
import { here } from '../../here.ts';
import { copyText } from '../../environment.ts';
import { made } from './access-state.ts';

const TITLES: Readonly<Record<AccessKind, string>> = {
  keys: 'The key of',
  invites: 'The invitation',
  admins: 'The console’s token of',
};

/** The token of the entry that was just made. Nobody can show it again. */
export function NewToken({ kind, name, token }: { kind: AccessKind; name: string; token: string }) {
  const box = useRef<HTMLDivElement>(null);
  const text = useRef<HTMLElement>(null);
  const copied = useSignal<string | null>(null);
  const shown = kind === 'invites' ? `${here}#invite=${token}` : token;
  useEffect(() => box.current?.focus(), [token]);
  const copy = async (): Promise<void> => {
    if (await copyText(shown)) {
      copied.value = 'Copied.';
      return;
    }
    if (text.current) getSelection()?.selectAllChildren(text.current);
    copied.value = 'The browser does not allow copying here: it is selected, so copy it by hand.';
  };
  return (
    <div class="new-token" ref={box} tabIndex={-1} role="group" aria-labelledby="new-token-title">
      <h3 id="new-token-title">
        {TITLES[kind]} {name}
      </h3>
      <code class="id" ref={text}>
        {shown}
      </code>
      <p class="muted">
        {kind === 'invites' ? 'Whoever opens this link may lend a tab. ' : ''}It is shown this once: only its SHA-256 is
        kept.
      </p>
      <p class="actions">
        <button type="button" class="primary" onClick={() => void copy()}>
          Copy
        </button>
        <button type="button" onClick={() => (made.value = null)}>
          Done
        </button>
        <span role="status">{copied.value}</span>
      </p>
    </div>
  );
}
