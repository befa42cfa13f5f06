import type { AccessKind, AccessView, EntryViews } from '@shoal/protocol';
import type { ComponentChildren } from 'preact';
import { formatTime, plural } from '../../format.ts';

export interface Column<Kind extends AccessKind> {
  name: string;
  isNumeric?: boolean;
  cell: (entry: EntryViews[Kind]) => ComponentChildren;
}

/** What follows from revoking an entry, before it is done. */
export const REVOKING: Readonly<Record<AccessKind, (view: AccessView) => string>> = {
  keys: () => 'Requests with this key are refused from now on. Answers that are under way are finished.',
  invites: () => 'No tab can join with it any more, and those that have are sent away. Answers in progress continue.',
  admins: ({ admins }) =>
    'Consoles with this token are closed at once.' +
    (admins.filter(({ role, revoked }) => role === 'operator' && revoked === null).length > 1
      ? ''
      : ' If this is the only operator, the next one has to be made on the coordinator’s machine: npx shoal admin add NAME.'),
};

export const INVITE_COLUMNS: readonly Column<'invites'>[] = [
  { name: 'Tabs at a time', cell: ({ maxPeers }) => (maxPeers === null ? 'no limit' : plural(maxPeers, 'tab')) },
  { name: 'Admits tabs until', cell: ({ expires }) => (expires === null ? 'revoked' : expiry(expires)) },
];

function expiry(iso: string): ComponentChildren {
  const isOver = Date.parse(iso) <= Date.now();
  return isOver ? <span class="tone-waiting">{formatTime(iso)} (expired)</span> : formatTime(iso);
}

export const ADMIN_COLUMNS: readonly Column<'admins'>[] = [{ name: 'Role', cell: ({ role }) => role }];

/** What the rules say, in a sentence or two. */
export function rulesText({ rules }: AccessView): string {
  const api = rules.api === 'keys' ? 'The API requires a key' : 'The API requires no key';
  const swarm = rules.swarm === 'invited' ? 'donors need an invitation' : 'anyone may lend a tab';
  const metrics = rules.metrics === 'admins' ? '/metrics is for admins' : '/metrics is open';
  return `${api}, ${swarm}, and ${metrics}.`;
}

/** What making the first of a kind changes for everybody else; undefined where it changes nothing. */
export function firstWarning(kind: AccessKind, { rules, keys, invites }: AccessView): string | undefined {
  if (kind === 'keys' && rules.api === 'open' && keys.length === 0)
    return 'Nobody needs a key now. With the first one, the API requires a key from everybody.';
  if (kind === 'invites' && rules.swarm === 'open' && invites.length === 0)
    return 'Anyone may lend a tab now. With the first invitation, only invited donors may, and the others are sent away.';
  return undefined;
}
