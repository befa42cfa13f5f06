import { readFileSync, statSync } from 'node:fs';
import { list } from '@shoal/protocol';
import { z } from 'zod';

/**
 * The access file: one JSON file with invitations, API keys, admins and limits. It holds only the SHA-256 of each secret,
 * so reading it gives access to nothing.
 */

/** Far above any team's list. Every token is compared with all entries. */
const MAX_ENTRIES = 1_000;
const MAX_FILE_BYTES = 2 ** 20;
const WORLD_READABLE = 0o004;

const name = z
  .string()
  .regex(/^[\w.-]{1,40}$/, 'must be 1 to 40 letters, digits, ".", "_" or "-"; it appears in logs and metrics');
const sha256 = z
  .string()
  .regex(/^[0-9a-f]{64}$/, 'must be the 64 hex digits of a token’s SHA-256; npx shoal token prints both');
const limit = z
  .number('must be a whole number')
  .int('must be a whole number')
  .min(1, 'must be 1 or more')
  .max(2 ** 50);

const inviteSchema = z.strictObject({
  name,
  sha256,
  /** Tabs that are already in may stay. */
  expires: z.iso.datetime({ offset: true, error: 'must be a time like 2030-01-31T12:00:00Z' }).optional(),
  /** Tabs at a time. */
  maxPeers: limit.optional(),
});

const apiKeySchema = z.strictObject({
  name,
  sha256,
  requestsPerMinute: limit.optional(),
  /** Prompt and answer together. */
  tokensPerMinute: limit.optional(),
  /** Answers running or queued at a time: prompts × n of a request. */
  maxConcurrent: limit.optional(),
});

const adminSchema = z.strictObject({
  name,
  sha256,
  role: z.enum(['viewer', 'operator'], 'must be viewer or operator'),
});

/**
 * The defaults are high enough for a household, a school class or a test bench behind one address, and low enough to keep one
 * machine from taking every place: 16 demo tabs that reconnect at once use an eighth of the joins.
 */
const limitsSchema = z.strictObject({
  /** Tabs of one address at a time. */
  peersPerAddress: limit.default(64),
  /** Tabs of one donor (one browser) at a time. They share one GPU, and never hold replicas of the same expert. */
  tabsPerDonor: limit.default(8),
  joinsPerMinutePerAddress: limit.default(128),
  /** Bytes of weights sent to one address. Default: 64 tabs of 1 GiB with empty caches; as a steady rate, 153 Mbit/s. */
  shardBytesPerHourPerAddress: limit.default(64 * 2 ** 30),
});

const fileSchema = z.strictObject({
  invites: list(inviteSchema).max(MAX_ENTRIES).optional(),
  inviteOnly: z.boolean('must be true or false').optional(),
  apiKeys: list(apiKeySchema).max(MAX_ENTRIES).optional(),
  admins: list(adminSchema).max(MAX_ENTRIES).optional(),
  /** Who may read /metrics. Default: admins if the file names any, otherwise anyone. */
  metrics: z.enum(['open', 'admins'], 'must be open or admins').optional(),
  limits: limitsSchema.prefault({}),
});

type Hashed<T> = Omit<T, 'sha256'> & { digest: Buffer };
export type Invite = Hashed<Omit<z.infer<typeof inviteSchema>, 'expires'>> & { expiresMs: number };
export type ApiKey = Hashed<z.infer<typeof apiKeySchema>>;
export type Admin = Hashed<z.infer<typeof adminSchema>>;

export interface AccessPolicy {
  invites: readonly Invite[];
  inviteOnly: boolean;
  /** Undefined if the API requires no key. */
  apiKeys: readonly ApiKey[] | undefined;
  admins: readonly Admin[];
  /** Whether /metrics requires an admin token, of either role. */
  metricsNeedAdmin: boolean;
  limits: z.infer<typeof limitsSchema>;
}

function policyOf(file: z.infer<typeof fileSchema>): AccessPolicy {
  const { invites = [], inviteOnly = file.invites !== undefined, apiKeys, admins = [], limits } = file;
  const { metrics = admins.length > 0 ? 'admins' : 'open' } = file;
  return {
    invites: invites.map(({ expires, ...invite }) => ({
      ...hashed(invite),
      expiresMs: expires === undefined ? Number.POSITIVE_INFINITY : Date.parse(expires),
    })),
    inviteOnly,
    apiKeys: apiKeys?.map(hashed),
    admins: admins.map(hashed),
    metricsNeedAdmin: metrics === 'admins',
    limits,
  };
}

/** The policy without an access file. */
export const OPEN_POLICY: AccessPolicy = policyOf(fileSchema.parse({}));

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

/** Reads and checks the file. `warnings` are for the operator; the policy is valid nevertheless. Throws an AccessFileError. */
export function readAccessFile(path: string): { policy: AccessPolicy; warnings: string[] } {
  const { text, warnings } = readBounded(path);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    // The parser's message would quote the file.
    throw new AccessFileError('not-json', `${path} is not valid JSON. Check its commas and quotes.`, { cause: error });
  }
  const parsed = fileSchema.safeParse(json);
  if (!parsed.success) throw new AccessFileError('invalid', `${path}: ${describeFirstIssue(parsed.error)}`);
  const { invites = [], apiKeys = [], admins = [] } = parsed.data;
  for (const [list, entries] of Object.entries({ invites, apiKeys, admins })) refuseDuplicates(path, list, entries);
  const policy = policyOf(parsed.data);
  if (invites.length > 0 && !policy.inviteOnly)
    warnings.push(`${path}: inviteOnly is false, so anyone may join without an invitation`);
  if (policy.inviteOnly && invites.length === 0)
    warnings.push(`${path}: an invitation is required but there are no invites, so no tab can join`);
  if (policy.apiKeys?.length === 0) warnings.push(`${path}: apiKeys is empty, so every API request is refused`);
  return { policy, warnings };
}

function readBounded(path: string): { text: string; warnings: string[] } {
  try {
    const { size, mode } = statSync(path);
    if (size > MAX_FILE_BYTES) {
      const message = `${path} is ${size} bytes long; an access file may be ${MAX_FILE_BYTES} at most.`;
      throw new AccessFileError('too-large', message);
    }
    const open = process.platform !== 'win32' && (mode & WORLD_READABLE) !== 0;
    const warnings = open ? [`${path} can be read by every user of this machine; run chmod 600 on it`] : [];
    return { text: readFileSync(path, 'utf8'), warnings };
  } catch (error) {
    if (error instanceof AccessFileError) throw error;
    const { code = 'unknown error' } = error as NodeJS.ErrnoException;
    const message = `${path} cannot be read (${code}). --access takes a JSON file.`;
    throw new AccessFileError('unreadable', message, { cause: error });
  }
}

function describeFirstIssue(error: z.ZodError): string {
  const issue = error.issues[0]!;
  const path = issue.path.map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`)).join('');
  const where = path.replace(/^\./, '') || 'the file';
  if (issue.code === 'unrecognized_keys')
    return `${where} has an unknown key "${issue.keys[0]}"; see docs/OPERATIONS.md`;
  if (issue.message.endsWith('received undefined'))
    return `${where} is missing; an entry needs name and sha256 (npx shoal token --name NAME prints one)`;
  return `${where} ${issue.message}`;
}

function refuseDuplicates(path: string, list: string, entries: readonly { name: string; sha256: string }[]): void {
  const names = new Set<string>();
  const digests = new Set<string>();
  entries.forEach((entry, index) => {
    const twice = names.has(entry.name) ? 'name' : digests.has(entry.sha256) ? 'sha256' : undefined;
    if (twice) {
      const message = `${path}: ${list}[${index}].${twice} is used by another entry; give each entry its own`;
      throw new AccessFileError('invalid', message);
    }
    names.add(entry.name);
    digests.add(entry.sha256);
  });
}

function hashed<T extends { sha256: string }>({ sha256, ...entry }: T): Hashed<T> {
  return { ...entry, digest: Buffer.from(sha256, 'hex') };
}

/** Equal for entries with the same name, token and limits. */
export function fingerprint({ digest, ...entry }: { digest: Buffer }): string {
  return `${digest.toString('hex')} ${JSON.stringify(entry)}`;
}
