import type {
  AccessKind,
  AccessView,
  EntryChange,
  EntryViews,
  MadeEntry,
  NewEntry,
  RulesChange,
  UsageQuery,
  UsageReport,
} from '@shoal/protocol';
import type { AccessFile } from './access-file.ts';

interface EntryName {
  kind: AccessKind;
  name: string;
}

/** What came of copying an access file. */
export interface Imported {
  copied: EntryName[];
  /** Entries whose token was revoked here before. They stay revoked. */
  revoked: EntryName[];
}

/** Keys, invitations and admins with what was used, to look at and change: in the database itself, or through a coordinator. */
export interface AccessBook {
  view(): Promise<AccessView>;
  /** Makes a token. A name whose entry was revoked may be given again. */
  add<Kind extends AccessKind>(kind: Kind, entry: NewEntry<Kind>): Promise<MadeEntry<Kind>>;
  change<Kind extends AccessKind>(kind: Kind, name: string, change: EntryChange<Kind>): Promise<EntryViews[Kind]>;
  revoke<Kind extends AccessKind>(kind: Kind, name: string): Promise<EntryViews[Kind]>;
  setRules(change: RulesChange): Promise<void>;
  /** Copies what an access file says; entries of other names stay. */
  import(file: AccessFile): Promise<Imported>;
  usage(query: UsageQuery): Promise<UsageReport>;
}

export type AccessErrorReason = 'unknown' | 'name-taken' | 'full' | 'read-only' | 'away' | 'invalid';

/** The rules cannot be changed or read so. The message is for an operator, and says what to do. */
export class AccessError extends Error {
  readonly reason: AccessErrorReason;
  constructor(reason: AccessErrorReason, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'AccessError';
    this.reason = reason;
  }
}

const NOUNS: Readonly<Record<AccessKind, string>> = {
  keys: 'an API key',
  invites: 'an invitation',
  admins: 'an admin',
};

/** An entry of a kind, in sentences. */
export function aNoun(kind: AccessKind): string {
  return NOUNS[kind];
}
