import { useState } from 'preact/hooks';
import type { DonorSession } from '../donor-session.ts';
import { readInvite } from '../invite.ts';

/** Takes an invitation that can't be clicked as a link. */
export function InviteField({ session }: { session: DonorSession }) {
  const [text, setText] = useState('');
  const [unreadable, setUnreadable] = useState(false);
  return (
    <form
      class="invite"
      onSubmit={(event) => {
        event.preventDefault();
        const token = readInvite(text);
        if (token === undefined) return setUnreadable(true);
        session.useInvite(token);
      }}
    >
      <label for="invite">Invitation link or code</label>
      <div class="actions">
        <input
          id="invite"
          type="text"
          autocomplete="off"
          spellcheck={false}
          value={text}
          aria-invalid={unreadable || undefined}
          aria-describedby={unreadable ? 'invite-complaint' : undefined}
          onInput={(event) => {
            setText(event.currentTarget.value);
            setUnreadable(false);
          }}
        />
        <button type="submit">Use this invitation</button>
      </div>
      {unreadable && (
        <p class="hint" id="invite-complaint" role="alert">
          That is neither an invitation link nor a code.
        </p>
      )}
    </form>
  );
}
