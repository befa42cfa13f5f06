import { MAX_NAME_CHARS, type Contribution as Account } from '@shoal/protocol';
import { useState } from 'preact/hooks';
import { formatCount } from '../format.ts';
import type { ContributionDesk } from './desk.ts';

interface Props {
  account: Account;
  desk: ContributionDesk;
}

const here = (path: string): string => new URL(path, document.baseURI).href;

/** Name, team, other browsers, a picture to share, and the end of it all. */
export function AccountForms({ account, desk }: Props) {
  return (
    <details class="account">
      <summary>Name, team, other browsers</summary>
      <NameForm account={account} desk={desk} />
      <TeamForm account={account} desk={desk} />
      <Elsewhere account={account} desk={desk} />
      <Deletion desk={desk} />
    </details>
  );
}

function NameForm({ account, desk }: Props) {
  const [name, setName] = useState(account.name ?? '');
  const [listed, setListed] = useState(account.listed);
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        const chosen = name.trim() === '' ? null : name;
        void desk.ask({ do: 'name', name: chosen, listed }, chosen === null ? 'You have no name now.' : 'Saved.');
      }}
    >
      <label>
        Your name, if you want one
        <input value={name} maxLength={4 * MAX_NAME_CHARS} onInput={(event) => setName(event.currentTarget.value)} />
      </label>
      <label class="check">
        <input type="checkbox" checked={listed} onChange={(event) => setListed(event.currentTarget.checked)} />
        <span>
          Show it to everybody on <a href="./swarm">the swarm’s page</a>
        </span>
      </label>
      <button type="submit" disabled={desk.isBusy.value}>
        Save the name
      </button>
    </form>
  );
}

function TeamForm({ account: { team }, desk }: Props) {
  const [name, setName] = useState('');
  if (team)
    return (
      <div>
        <p>
          Your team is <a href={`./swarm?team=${team.id}`}>{team.name}</a>. Others join it by this link:{' '}
          <code>{here(`./#team=${team.id}`)}</code>
        </p>
        <button
          type="button"
          disabled={desk.isBusy.value}
          onClick={() => void desk.ask({ do: 'leave-team' }, 'You have left the team.')}
        >
          Leave the team
        </button>
      </div>
    );
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        void desk.ask({ do: 'found-team', name }, 'Your team is there. Send its link to others.');
      }}
    >
      <label>
        Found a team
        <input
          value={name}
          required
          maxLength={4 * MAX_NAME_CHARS}
          onInput={(event) => setName(event.currentTarget.value)}
        />
      </label>
      <button type="submit" disabled={desk.isBusy.value}>
        Found it
      </button>
    </form>
  );
}

function Elsewhere({ account, desk }: Props) {
  const isBusy = desk.isBusy.value;
  return (
    <div>
      <p class="hint">
        A link lets another browser of yours count together with this one: open it there within 15 minutes. It works
        once. The picture shows your name and figures to anyone who has its address.
        {account.credit !== null &&
          ` With your credit (${formatCount(account.credit)} tokens left) your requests to the API come sooner: send the token in the header X-Shoal-Credit.`}
      </p>
      <div class="actions">
        <button
          type="button"
          disabled={isBusy}
          onClick={() => void desk.ask({ do: 'link' }, 'Open this link in the other browser:')}
        >
          Add another browser
        </button>
        <button
          type="button"
          disabled={isBusy}
          onClick={() => void desk.ask({ do: 'picture' }, 'Your picture is at this address:')}
        >
          Make a picture to share
        </button>
        {account.credit !== null && (
          <button
            type="button"
            disabled={isBusy}
            onClick={() => void desk.ask({ do: 'credit-token' }, 'Your token, which is shown only now:')}
          >
            Make a token for the API
          </button>
        )}
      </div>
    </div>
  );
}

/** What the last request made, under the sentence that says what it is. */
export function Made({ desk }: { desk: ContributionDesk }) {
  const { link, picture, token } = desk.made.value;
  const made = link ? here(`./#link=${link.code}`) : picture ? here(`./swarm/pictures/${picture}.svg`) : token;
  if (!made) return null;
  return <p class="made">{picture ? <a href={made}>{made}</a> : <code>{made}</code>}</p>;
}

function Deletion({ desk }: { desk: ContributionDesk }) {
  const [isSure, setSure] = useState(false);
  return (
    <div>
      {isSure ? (
        <>
          <p class="hint">
            This forgets your name, your browsers and all that they did. What stays for a while: the event log’s lines
            about your tabs, with their addresses (30 days), and what audits found wrong, if anything (a year). Your tab
            goes on lending, and counts from zero.
          </p>
          <div class="actions">
            <button
              type="button"
              class="danger"
              disabled={desk.isBusy.value}
              onClick={() => void desk.ask({ do: 'delete' }, 'All of it is deleted.').then(() => setSure(false))}
            >
              Delete it for good
            </button>
            <button type="button" onClick={() => setSure(false)}>
              Keep it
            </button>
          </div>
        </>
      ) : (
        <button type="button" onClick={() => setSure(true)}>
          Delete what I did…
        </button>
      )}
    </div>
  );
}
