import { readFileSync, statSync } from 'node:fs';
import {
  accessNameSchema,
  type AddressLimit,
  expirySchema,
  limitSchema,
  list,
  MAX_ACCESS_ENTRIES,
  roleSchema,
} from '@shoal/protocol';
import { z } from 'zod';
import { type AccessPolicy, DEFAULT_LIMITS } from './policy.ts';

/**
 * The access file: one JSON file with invitations, API keys, admins and limits. It holds only the SHA-256 of each secret,
 * so reading it gives access to nothing.
 */

const MAX_FILE_BYTES = 2 ** 20;
const WORLD_READABLE = 0o004;

const sha256 = z
  .string()
  .regex(/^[0-9a-f]{64}$/, 'must be the 64 hex digits of a token’s SHA-256; npx shoal token prints both');

const entryShape = { name: accessNameSchema, sha256 };
const limit = limitSchema.optional();
const inviteSchema = z.strictObject({ ...entryShape, expires: expirySchema.optional(), maxPeers: limit });
const apiKeySchema = z.strictObject({
  ...entryShape,
  requestsPerMinute: limit,
  tokensPerMinute: limit,
  tokensPerDay: limit,
  maxConcurrent: limit,
});
const adminSchema = z.strictObject({ ...entryShape, role: roleSchema });

const fileSchema = z.strictObject({
  invites: list(inviteSchema).max(MAX_ACCESS_ENTRIES).optional(),
  inviteOnly: z.boolean('must be true or false').optional(),
  apiKeys: list(apiKeySchema).max(MAX_ACCESS_ENTRIES).optional(),
  admins: list(adminSchema).max(MAX_ACCESS_ENTRIES).optional(),
  /** Who may read /metrics. Default: admins if the file names any, otherwise anyone. */
  metrics: z.enum(['open', 'admins'], 'must be open or admins').optional(),
  limits: z
    .strictObject({
      peersPerAddress: limit,
      tabsPerDonor: limit,
      joinsPerMinutePerAddress: limit,
      shardBytesPerHourPerAddress: limit,
    } satisfies Record<AddressLimit, unknown>)
    .optional(),
});

/** What a file says, checked. */
export type AccessFile = z.infer<typeof fileSchema>;

function policyOfFile(file: AccessFile): AccessPolicy {
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
    limits: { ...DEFAULT_LIMITS, ...(limits as Partial<typeof DEFAULT_LIMITS>) },
  };
}

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
export function readAccessFile(path: string): { file: AccessFile; policy: AccessPolicy; warnings: string[] } {
  const { text, warnings } = readBounded(path);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    // The parser's message would quote the file.
    throw new AccessFileError('not-json', `${path} is not valid JSON. Check its commas and quotes.`, { cause: error });
  }
  const file = checkAccessFile(json, path);
  const policy = policyOfFile(file);
  if (policy.invites.length > 0 && !policy.inviteOnly)
    warnings.push(`${path}: inviteOnly is false, so anyone may join without an invitation`);
  if (policy.inviteOnly && policy.invites.length === 0)
    warnings.push(`${path}: an invitation is required but there are no invites, so no tab can join`);
  if (policy.apiKeys?.length === 0) warnings.push(`${path}: apiKeys is empty, so every API request is refused`);
  return { file, policy, warnings };
}

/** Checks what a file has said. `path` names it in the message of the AccessFileError. */
export function checkAccessFile(json: unknown, path: string): AccessFile {
  const parsed = fileSchema.safeParse(json);
  if (!parsed.success) throw new AccessFileError('invalid', `${path}: ${describeFirstIssue(parsed.error)}`);
  const { invites = [], apiKeys = [], admins = [] } = parsed.data;
  for (const [list, entries] of Object.entries({ invites, apiKeys, admins })) refuseDuplicates(path, list, entries);
  return parsed.data;
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

function hashed<T extends { sha256: string }>({ sha256, ...entry }: T): Omit<T, 'sha256'> & { digest: Buffer } {
  return { ...entry, digest: Buffer.from(sha256, 'hex') };
}
