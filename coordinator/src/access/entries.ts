import { type AccessKind, entryChangeSchemas, type EntryChange, type EntryViews } from '@shoal/protocol';
import type { Admin, ApiKey, Invite } from './policy.ts';

/** A row of the table `access_entries`: an API key, an invitation or an admin. */
export interface EntryRow {
  kind: AccessKind;
  name: string;
  /** SHA-256 of the token, as 64 hex digits. */
  token_hash: string;
  /** What `entryChangeSchemas` has for the kind, without the note and without limits that are not set. */
  settings: object;
  note: string;
  created_at: Date;
  created_by: string;
  revoked_at: Date | null;
}

/** What the rules have for each kind of entry. */
interface Entries {
  keys: ApiKey;
  invites: Invite;
  admins: Admin;
}

type Settings<Kind extends AccessKind> = Omit<EntryChange<Kind>, 'note'>;

/** How an entry of a kind is shown, and used. */
const FORMS: {
  [Kind in AccessKind]: {
    view(settings: Settings<Kind>): Omit<EntryViews[Kind], 'name' | 'note' | 'created' | 'by' | 'revoked'>;
    entry(settings: Settings<Kind>): Omit<Entries[Kind], 'name' | 'digest'>;
  };
} = {
  keys: {
    view: ({ requestsPerMinute = null, tokensPerMinute = null, tokensPerDay = null, maxConcurrent = null }) => ({
      requestsPerMinute,
      tokensPerMinute,
      tokensPerDay,
      maxConcurrent,
    }),
    entry: (limits) => withoutNull(limits),
  },
  invites: {
    view: ({ expires = null, maxPeers = null }) => ({ expires, maxPeers }),
    entry: ({ expires, maxPeers }) => ({
      expiresMs: expires == null ? Number.POSITIVE_INFINITY : Date.parse(expires),
      ...withoutNull({ maxPeers }),
    }),
  },
  admins: {
    view: ({ role = 'viewer' }) => ({ role }),
    entry: ({ role = 'viewer' }) => ({ role }),
  },
};

/** An entry as operators see it. */
export function viewOf<Kind extends AccessKind>(kind: Kind, row: EntryRow): EntryViews[Kind] {
  const { name, note, created_at: created, created_by: by, revoked_at: revoked } = row;
  const shown = { name, note, created: created.toISOString(), by, revoked: revoked?.toISOString() ?? null };
  return { ...shown, ...FORMS[kind].view(settingsOf(kind, row)) } as EntryViews[Kind];
}

/** An entry as requests and visits ask for it. */
export function entryOf<Kind extends AccessKind>(kind: Kind, row: EntryRow): Entries[Kind] {
  const digest = Buffer.from(row.token_hash, 'hex');
  return { name: row.name, digest, ...FORMS[kind].entry(settingsOf(kind, row)) } as Entries[Kind];
}

/** The note and the settings of an entry after a change; `before` is undefined for a new entry. */
export function changed<Kind extends AccessKind>(
  { note, ...settings }: EntryChange<Kind>,
  before?: Pick<EntryRow, 'note' | 'settings'>,
): Pick<EntryRow, 'note' | 'settings'> {
  return { note: note ?? before?.note ?? '', settings: withoutNull({ ...before?.settings, ...settings }) };
}

/** Checked, since another version may have written it. */
function settingsOf<Kind extends AccessKind>(kind: Kind, { settings }: EntryRow): Settings<Kind> {
  return entryChangeSchemas[kind].parse(settings) as Settings<Kind>;
}

function withoutNull<T extends object>(from: T): { [Key in keyof T]?: NonNullable<T[Key]> } {
  return Object.fromEntries(Object.entries(from).filter(([, value]) => value != null)) as never;
}
