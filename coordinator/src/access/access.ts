import { unwatchFile, watchFile } from 'node:fs';
import type { IncomingHttpHeaders } from 'node:http';
import { clientAddress, type AddressedRequest } from '../base/address.ts';
import { type AccessPolicy, type Admin, type Invite, OPEN_POLICY, readAccessFile } from './access-file.ts';
import { digestOf, findByToken } from './token.ts';

/** How soon a changed file is noticed. Asking for its date costs next to nothing. */
const WATCH_INTERVAL_MS = 1_000;

export interface AccessOptions {
  /** Without it everybody may lend and ask. */
  file?: string | undefined;
  /** Of the operator whom no file names. */
  adminToken?: string | undefined;
  /** Believe the last hop of X-Forwarded-For. */
  trustProxy?: boolean | undefined;
}

/**
 * What is counted of those who were turned away: socket.io connections, wrong console tokens (and sign-ins while an address
 * waits), donors without an invitation that holds or over a limit of their address, requests without a key that is known,
 * and shards over an address's bytes.
 */
export const REFUSALS = ['connection', 'sign-in', 'invite', 'limit', 'api-key', 'shard'] as const;
export type Refusal = (typeof REFUSALS)[number];

export type AccessReport = (level: 'info' | 'warning' | 'error', text: string) => void;

/** The rules in force: as they were read when the coordinator started, or last reloaded. */
export class Access {
  /** What is doubtful about the file as it was read first. */
  readonly warnings: readonly string[];
  /** Told of every later reading: what it changed, what is doubtful, or why it failed. */
  report: AccessReport = () => {};
  /** Since the coordinator started. */
  readonly refusals: Record<Refusal, number> = {
    connection: 0,
    'sign-in': 0,
    invite: 0,
    limit: 0,
    'api-key': 0,
    shard: 0,
  };
  readonly #options: AccessOptions;
  readonly #listeners = new Set<() => void>();
  readonly #ownAdmin: readonly Admin[];
  #policy: AccessPolicy;

  /** Throws an AccessFileError when the file cannot be used. */
  constructor(options: AccessOptions) {
    this.#options = options;
    const { adminToken, file } = options;
    this.#ownAdmin =
      adminToken === undefined ? [] : [{ name: 'admin', digest: digestOf(adminToken), role: 'operator' }];
    const { policy, warnings } = file === undefined ? { policy: OPEN_POLICY, warnings: [] } : readAccessFile(file);
    this.#policy = policy;
    this.warnings = warnings;
  }

  get policy(): AccessPolicy {
    return this.#policy;
  }

  addressOf(request: AddressedRequest): string {
    return clientAddress(request, this.#options.trustProxy ?? false);
  }

  /** Who opened a socket.io connection, as it was at its handshake: later the request's own socket may be gone. */
  addressOfSocket({ handshake }: { handshake: { address: string; headers: IncomingHttpHeaders } }): string {
    return this.addressOf({ headers: handshake.headers, socket: { remoteAddress: handshake.address } });
  }

  /** Whose console token this is. */
  admin(token: string): Admin | undefined {
    return findByToken([...this.#policy.admins, ...this.#ownAdmin], token);
  }

  /** The entry as it is now, of an admin who signed in earlier; undefined once it was taken away or given another token. */
  adminNow(before: Admin): Admin | undefined {
    return [...this.#policy.admins, ...this.#ownAdmin].find(
      (admin) => admin.name === before.name && admin.digest.equals(before.digest),
    );
  }

  /** Whose invitation this is, expired or not. */
  invite(token: string): Invite | undefined {
    return findByToken(this.#policy.invites, token);
  }

  /** Called after a reload has changed the rules. Returns the call that ends it. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Read the file again. One that cannot be used changes nothing, and says so. */
  reload(): void {
    const { file } = this.#options;
    if (file === undefined) return;
    try {
      const before = this.#policy;
      const { policy, warnings } = readAccessFile(file);
      this.#policy = policy;
      this.report('info', `${file} was read again: ${describeChange(before, policy)}`);
      for (const warning of warnings) this.report('warning', warning);
    } catch (error) {
      this.report('error', `The access rules stay as they were: ${(error as Error).message}`);
      return;
    }
    for (const listener of this.#listeners) listener();
  }

  /** Reload whenever the file changes. Returns the call that ends it. */
  watch(): () => void {
    const { file } = this.#options;
    if (file === undefined) return () => {};
    const onStat = (now: { mtimeMs: number; ino: number }, before: { mtimeMs: number; ino: number }): void => {
      if (now.mtimeMs !== before.mtimeMs || now.ino !== before.ino) this.reload();
    };
    watchFile(file, { interval: WATCH_INTERVAL_MS, persistent: false }, onStat);
    return () => unwatchFile(file, onStat);
  }
}

/** In names and numbers alone: digests are nobody's business. */
function describeChange(before: AccessPolicy, after: AccessPolicy): string {
  const parts: string[] = [];
  const lists = ['invites', 'apiKeys', 'admins'] as const;
  for (const list of lists) {
    const old = byName(before[list] ?? []);
    const now = byName(after[list] ?? []);
    const added = [...now.keys()].filter((name) => !old.has(name));
    const gone = [...old.keys()].filter((name) => !now.has(name));
    const changed = [...now.keys()].filter((name) => old.has(name) && old.get(name) !== now.get(name));
    if (added.length > 0) parts.push(`${list} + ${added.join(', ')}`);
    if (gone.length > 0) parts.push(`${list} − ${gone.join(', ')}`);
    if (changed.length > 0) parts.push(`${list} changed: ${changed.join(', ')}`);
  }
  if (before.inviteOnly !== after.inviteOnly) parts.push(after.inviteOnly ? 'invitations needed' : 'open to everybody');
  if ((before.apiKeys === undefined) !== (after.apiKeys === undefined)) {
    parts.push(after.apiKeys === undefined ? 'the API asks for no key' : 'the API asks for a key');
  }
  if (before.metricsNeedAdmin !== after.metricsNeedAdmin) {
    parts.push(after.metricsNeedAdmin ? '/metrics asks for an admin’s token' : '/metrics is open');
  }
  for (const [limit, value] of Object.entries(after.limits)) {
    if (before.limits[limit as keyof typeof before.limits] !== value) parts.push(`${limit} ${value}`);
  }
  return parts.length === 0 ? 'nothing changed' : parts.join('; ');
}

function byName(entries: readonly { name: string; digest: Buffer }[]): Map<string, string> {
  return new Map(
    entries.map(({ digest, ...entry }) => [entry.name, `${digest.toString('hex')} ${JSON.stringify(entry)}`]),
  );
}
