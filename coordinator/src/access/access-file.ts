import { readFileSync, statSync } from 'node:fs';
import { z } from 'zod';

/**
 * Who may do what: invitations, API keys, admins and limits, out of one JSON file. Of every secret the file has the
 * SHA-256 alone, so that whoever reads it can use none of them.
 */

/** Far above any team's list. Every sign-in is compared with all of them. */
const MAX_ENTRIES = 1_000;
const MAX_FILE_BYTES = 2 ** 20;
const WORLD_READABLE = 0o004;

const MAKE_ONE = 'name and sha256 (npx shoal token --name NAME prints one)';
const name = z
  .string()
  .regex(/^[\w.-]{1,40}$/, 'takes 1 to 40 letters, digits, ".", "_" or "-"; it appears in logs and metrics');
const sha256 = z
  .string()
  .regex(/^[0-9a-f]{64}$/, 'takes the 64 hex digits of a token’s SHA-256; npx shoal token prints both');
const limit = z
  .number('takes a whole number')
  .int('takes a whole number')
  .min(1, 'takes 1 or more')
  .max(2 ** 50);

const inviteSchema = z.strictObject({
  name,
  sha256,
  /** Nobody joins with it from then on. */
  expires: z.iso.datetime({ offset: true, error: 'takes a time like 2030-01-31T12:00:00Z' }).optional(),
  /** Tabs at a time. */
  maxPeers: limit.optional(),
});

const apiKeySchema = z.strictObject({
  name,
  sha256,
  requestsPerMinute: limit.optional(),
  /** Prompt and answer together. */
  tokensPerMinute: limit.optional(),
  /** Answers being written or waiting at a time: prompts × n of a request. */
  maxConcurrent: limit.optional(),
});

const adminSchema = z.strictObject({ name, sha256, role: z.enum(['viewer', 'operator'], 'takes viewer or operator') });

export interface AddressLimits {
  /** Tabs of one address at a time. */
  peersPerAddress: number;
  /** Tabs of one donor (one browser) at a time. */
  tabsPerDonor: number;
  joinsPerMinutePerAddress: number;
  /** Weights sent to one address. */
  shardBytesPerHourPerAddress: number;
}

/**
 * Out of the way of a household, a school class or a test bench behind one address, and in the way of one machine that
 * takes all places: 16 demo tabs that reconnect at once use an eighth of the joins.
 */
export const DEFAULT_ADDRESS_LIMITS: AddressLimits = {
  peersPerAddress: 64,
  // They share one GPU, and bring no replica of what another of them holds.
  tabsPerDonor: 8,
  joinsPerMinutePerAddress: 128,
  // 64 tabs of 1 GiB that start with nothing. As a flow it is 153 Mbit/s.
  shardBytesPerHourPerAddress: 64 * 2 ** 30,
};

const fileSchema = z.strictObject({
  invites: z.array(inviteSchema).max(MAX_ENTRIES).optional(),
  inviteOnly: z.boolean('takes true or false').optional(),
  apiKeys: z.array(apiKeySchema).max(MAX_ENTRIES).optional(),
  admins: z.array(adminSchema).max(MAX_ENTRIES).optional(),
  /** Who may read /metrics; without it admins where the file names any, else everybody. */
  metrics: z.enum(['open', 'admins'], 'takes open or admins').optional(),
  limits: z
    .strictObject({
      peersPerAddress: limit,
      tabsPerDonor: limit,
      joinsPerMinutePerAddress: limit,
      shardBytesPerHourPerAddress: limit,
    })
    .partial()
    .optional(),
});

type Hashed<T> = Omit<T, 'sha256'> & { digest: Buffer };
export type Invite = Hashed<Omit<z.infer<typeof inviteSchema>, 'expires'>> & { expiresMs: number };
export type ApiKey = Hashed<z.infer<typeof apiKeySchema>>;
export type Admin = Hashed<z.infer<typeof adminSchema>>;

export interface AccessPolicy {
  invites: readonly Invite[];
  inviteOnly: boolean;
  /** Undefined: the API asks for no key. */
  apiKeys: readonly ApiKey[] | undefined;
  admins: readonly Admin[];
  /** Whether /metrics asks for an admin's token, of either role. */
  metricsNeedAdmin: boolean;
  limits: AddressLimits;
}

export const OPEN_POLICY: AccessPolicy = {
  invites: [],
  inviteOnly: false,
  apiKeys: undefined,
  admins: [],
  metricsNeedAdmin: false,
  limits: DEFAULT_ADDRESS_LIMITS,
};

export type AccessFileReason = 'unreadable' | 'too-large' | 'not-json' | 'invalid';

/** The access file cannot be used. The message names the file, the key and the remedy. */
export class AccessFileError extends Error {
  readonly reason: AccessFileReason;
  constructor(reason: AccessFileReason, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'AccessFileError';
    this.reason = reason;
  }
}

/** Throws an AccessFileError. `warnings` are for the operator; the policy holds all the same. */
export function readAccessFile(path: string): { policy: AccessPolicy; warnings: string[] } {
  const { text, warnings } = readBounded(path);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    // The parser's own words quote the file.
    throw new AccessFileError('not-json', `${path} is not JSON. Check its commas and quotes.`, { cause: error });
  }
  const parsed = fileSchema.safeParse(json);
  if (!parsed.success) throw new AccessFileError('invalid', `${path}: ${firstComplaint(parsed.error)}`);
  const { invites = [], inviteOnly = parsed.data.invites !== undefined, apiKeys, admins = [], limits } = parsed.data;
  const { metrics = admins.length > 0 ? 'admins' : 'open' } = parsed.data;
  for (const [list, entries] of Object.entries({ invites, apiKeys: apiKeys ?? [], admins })) {
    refuseDuplicates(path, list, entries);
  }
  if (invites.length > 0 && !inviteOnly) warnings.push(`${path}: inviteOnly is false, so everybody may join uninvited`);
  if (inviteOnly && invites.length === 0) warnings.push(`${path}: there are no invites, so no tab can join`);
  if (apiKeys?.length === 0) warnings.push(`${path}: apiKeys is empty, so nobody can use the API`);
  return {
    warnings,
    policy: {
      invites: invites.map(({ expires, ...invite }) => ({
        ...hashed(invite),
        expiresMs: expires === undefined ? Number.POSITIVE_INFINITY : Date.parse(expires),
      })),
      inviteOnly,
      apiKeys: apiKeys?.map(hashed),
      admins: admins.map(hashed),
      metricsNeedAdmin: metrics === 'admins',
      limits: { ...DEFAULT_ADDRESS_LIMITS, ...withoutUndefined(limits ?? {}) },
    },
  };
}

function readBounded(path: string): { text: string; warnings: string[] } {
  try {
    const { size, mode } = statSync(path);
    if (size > MAX_FILE_BYTES) {
      throw new AccessFileError(
        'too-large',
        `${path} has ${size} bytes; an access file has at most ${MAX_FILE_BYTES}.`,
      );
    }
    const open = process.platform !== 'win32' && (mode & WORLD_READABLE) !== 0;
    const warnings = open ? [`${path} can be read by every user of this machine; chmod 600 it`] : [];
    return { text: readFileSync(path, 'utf8'), warnings };
  } catch (error) {
    if (error instanceof AccessFileError) throw error;
    const { code = 'unknown error' } = error as NodeJS.ErrnoException;
    throw new AccessFileError('unreadable', `${path} cannot be read (${code}). --access takes a JSON file.`, {
      cause: error,
    });
  }
}

function firstComplaint(error: z.ZodError): string {
  const issue = error.issues[0]!;
  const path = issue.path.map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`)).join('');
  const where = path.replace(/^\./, '') || 'the file';
  if (issue.code === 'unrecognized_keys')
    return `${where} has an unknown key "${issue.keys[0]}"; see docs/OPERATIONS.md`;
  if (issue.message.endsWith('received undefined')) return `${where} is missing; an entry has ${MAKE_ONE}`;
  return `${where} ${issue.message}`;
}

function refuseDuplicates(path: string, list: string, entries: readonly { name: string; sha256: string }[]): void {
  const names = new Set<string>();
  const digests = new Set<string>();
  entries.forEach((entry, index) => {
    const twice = names.has(entry.name) ? 'name' : digests.has(entry.sha256) ? 'sha256' : undefined;
    if (twice) {
      const message = `${path}: ${list}[${index}].${twice} is that of another entry; give each its own`;
      throw new AccessFileError('invalid', message);
    }
    names.add(entry.name);
    digests.add(entry.sha256);
  });
}

function hashed<T extends { sha256: string }>({ sha256, ...entry }: T): Hashed<T> {
  return { ...entry, digest: Buffer.from(sha256, 'hex') };
}

/** A limit that is left out keeps its default. */
function withoutUndefined(limits: { [K in keyof AddressLimits]?: number | undefined }): Partial<AddressLimits> {
  return Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== undefined));
}
