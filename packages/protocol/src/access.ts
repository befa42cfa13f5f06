import { z } from 'zod';

/**
 * Who may do what, as an operator sees and changes it under `/admin` (docs/OPERATIONS.md): the console and `npx shoal key`,
 * `invite`, `admin` and `access` ask with these bodies. The coordinator is trusted, so what it answers are plain types.
 */

/** Entries of a kind that are in force. Every token is compared with all of them. */
export const MAX_ACCESS_ENTRIES = 1_000;
const MAX_NOTE_CHARS = 200;
/** A day of usage a row, far from any total that JSON could not carry. */
export const MAX_USAGE_DAYS = 366;

export const accessNameSchema = z
  .string()
  .regex(/^[\w.-]{1,40}$/, 'must be 1 to 40 letters, digits, ".", "_" or "-"; it appears in logs and metrics');

export const limitSchema = z
  .number('must be a whole number')
  .int('must be a whole number')
  .min(1, 'must be 1 or more')
  .max(2 ** 50);

export const expirySchema = z.iso.datetime({ offset: true, error: 'must be a time like 2030-01-31T12:00:00Z' });
export const roleSchema = z.enum(['viewer', 'operator'], 'must be viewer or operator');

/** What an entry may have at most; null: as much as the coordinator gives. */
const limit = limitSchema.nullish();
const keyLimits = {
  requestsPerMinute: limit,
  /** Prompt and answer together. */
  tokensPerMinute: limit,
  /** The same from 0:00 UTC to the next. */
  tokensPerDay: limit,
  /** Answers running or queued at a time: prompts × n of a request. */
  maxConcurrent: limit,
};
const inviteLimits = {
  /** Tabs that are already in may stay. */
  expires: expirySchema.nullish(),
  /** Tabs at a time. */
  maxPeers: limit,
};

const noteShape = { note: z.string().max(MAX_NOTE_CHARS).optional() };

/** By kind of entry: what may be changed later. A limit that is null is taken away, and an absent one stays. */
export const entryChangeSchemas = {
  keys: z.strictObject({ ...noteShape, ...keyLimits }),
  invites: z.strictObject({ ...noteShape, ...inviteLimits }),
  admins: z.strictObject({ ...noteShape, role: roleSchema.optional() }),
};
/** By kind of entry: what a new one begins with. The coordinator makes its token. */
export const newEntrySchemas = {
  keys: entryChangeSchemas.keys.extend({ name: accessNameSchema }),
  invites: entryChangeSchemas.invites.extend({ name: accessNameSchema }),
  admins: entryChangeSchemas.admins.extend({ name: accessNameSchema, role: roleSchema.default('operator') }),
};

export const ACCESS_KINDS = ['keys', 'invites', 'admins'] as const;
export type AccessKind = (typeof ACCESS_KINDS)[number];
export type EntryChange<Kind extends AccessKind> = z.infer<(typeof entryChangeSchemas)[Kind]>;
export type NewEntry<Kind extends AccessKind> = z.infer<(typeof newEntrySchemas)[Kind]>;

export const ADDRESS_LIMITS = [
  'peersPerAddress',
  'tabsPerDonor',
  'joinsPerMinutePerAddress',
  'shardBytesPerHourPerAddress',
] as const;
export type AddressLimit = (typeof ADDRESS_LIMITS)[number];

/** The rules beside the lists. Null: what follows from the lists, or a limit's default; absent: as before. */
export const rulesChangeSchema = z.strictObject({
  /** Whether /v1 requires a key. By itself it does once a key has been made. */
  api: z.enum(['keys', 'open'], 'must be keys or open').nullish(),
  /** Whether donors need an invitation. By itself they do once one has been made. */
  swarm: z.enum(['invited', 'open'], 'must be invited or open').nullish(),
  /** Who may read /metrics. By itself admins, once one was made other than the first. */
  metrics: z.enum(['admins', 'open'], 'must be admins or open').nullish(),
  peersPerAddress: limit,
  tabsPerDonor: limit,
  joinsPerMinutePerAddress: limit,
  shardBytesPerHourPerAddress: limit,
});
export type RulesChange = z.infer<typeof rulesChangeSchema>;

interface EntryView {
  name: string;
  note: string;
  /** ISO times, and who made it; null where that is not known, as of an access file's entries. */
  created: string | null;
  by: string | null;
  revoked: string | null;
}
export interface KeyView extends EntryView {
  requestsPerMinute: number | null;
  tokensPerMinute: number | null;
  tokensPerDay: number | null;
  maxConcurrent: number | null;
}
export interface InviteView extends EntryView {
  expires: string | null;
  maxPeers: number | null;
}
export interface AdminView extends EntryView {
  role: 'viewer' | 'operator';
}
export interface EntryViews {
  keys: KeyView;
  invites: InviteView;
  admins: AdminView;
}

/** The rules in force. */
export interface RulesView {
  api: 'keys' | 'open';
  swarm: 'invited' | 'open';
  metrics: 'admins' | 'open';
  limits: Record<AddressLimit, number>;
}

export interface AccessView {
  /** Where the rules are: in a file that only its owner changes (`--access`), in the database, or nowhere. */
  source: 'file' | 'database' | 'none';
  file: string | null;
  /** Since when the database cannot be reached: the lists are as they were then, and nothing can be changed. ISO; else null. */
  away: string | null;
  rules: RulesView;
  keys: KeyView[];
  invites: InviteView[];
  admins: AdminView[];
}

/** The answer to a new entry: the only time that its token is shown. */
export interface MadeEntry<Kind extends AccessKind> {
  entry: EntryViews[Kind];
  token: string;
}

const daySchema = z.iso.date('must be a day like 2030-01-31');
export const USAGE_PARTS = ['key', 'day', 'model'] as const;
export type UsagePart = (typeof USAGE_PARTS)[number];

/** The query of /admin/usage, and but for `key` of /v1/usage. Days are UTC, the first and the last included. */
export const usageQuerySchema = z.strictObject({
  from: daySchema.optional(),
  to: daySchema.optional(),
  key: z.string().max(64).optional(),
  model: z.string().max(1024).optional(),
  /** What rows are told apart by, separated by commas; the figures of the others are added up. */
  by: z
    .string()
    .max(64)
    .refine((by) => by.split(',').every((part) => USAGE_PARTS.includes(part as UsagePart)), {
      error: `must be some of ${USAGE_PARTS.join(', ')}, separated by commas`,
    })
    .optional(),
  format: z.enum(['json', 'csv'], 'must be json or csv').optional(),
});
export type UsageQuery = z.infer<typeof usageQuerySchema>;

/** What a key has used of a model on a day. A part by which rows are not told apart is absent. */
export interface UsageRow {
  /** Empty: requests without a key, where none is required. */
  key?: string;
  day?: string;
  model?: string;
  requests: number;
  /** Requests that a limit of the key refused. */
  refusals: number;
  promptTokens: number;
  completionTokens: number;
}
export interface UsageReport {
  from: string;
  to: string;
  rows: UsageRow[];
}
