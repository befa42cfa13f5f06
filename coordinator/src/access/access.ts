import { EventEmitter } from 'node:events';
import { unwatchFile, watchFile } from 'node:fs';
import type { IncomingHttpHeaders } from 'node:http';
import { isIP } from 'node:net';
import { clientAddress, type AddressedRequest } from '../base/address.ts';
import { addressKind } from '../base/networks.ts';
import { type AccessPolicy, type Admin, fingerprint, type Invite, OPEN_POLICY, readAccessFile } from './access-file.ts';
import { digestOf, findByToken } from './token.ts';

/** How soon a changed file is noticed. Polling its date costs next to nothing. */
const WATCH_INTERVAL_MS = 1_000;

export interface AccessOptions {
  /** Without a file, anyone may lend and use the API. */
  file?: string | undefined;
  /** The token of an operator who is not in the file. */
  adminToken?: string | undefined;
  /** Trust the last hop of X-Forwarded-For. */
  trustProxy?: boolean | undefined;
}

/**
 * What refusals are counted by: socket.io connections (not opened, or ended by the bytes sent), wrong console tokens (and
 * sign-ins while an address has to wait), donors without a valid invitation or over a limit of their address, requests without a
 * known key, and shards beyond an address's bytes.
 */
export const REFUSALS = ['connection', 'sign-in', 'invite', 'limit', 'api-key', 'shard'] as const;
export type Refusal = (typeof REFUSALS)[number];

export type ReportLevel = 'info' | 'warning' | 'error';

/** The access rules in force, as read at startup or by the last reload. */
export class Access {
  /** Problems found in the file at startup. */
  readonly warnings: readonly string[];
  /**
   * `report`: the outcome of a reload: what changed, a warning, or why it failed; and a proxy that `trustProxy` does not fit.
   * `change`: a reload has replaced the rules.
   */
  readonly events = new EventEmitter<{ report: [level: ReportLevel, text: string]; change: [] }>();
  /** Refusals since startup. */
  readonly refusals = Object.fromEntries(REFUSALS.map((what) => [what, 0])) as Record<Refusal, number>;
  readonly #options: AccessOptions;
  readonly #commandLineAdmin: readonly Admin[];
  #policy: AccessPolicy;
  #hasDoubtedProxy = false;

  /** Throws an AccessFileError if the file cannot be used. */
  constructor(options: AccessOptions) {
    this.#options = options;
    const { adminToken, file } = options;
    this.#commandLineAdmin =
      adminToken === undefined ? [] : [{ name: 'admin', digest: digestOf(adminToken), role: 'operator' }];
    const { policy, warnings } = file === undefined ? { policy: OPEN_POLICY, warnings: [] } : readAccessFile(file);
    this.#policy = policy;
    this.warnings = warnings;
  }

  get policy(): AccessPolicy {
    return this.#policy;
  }

  get #admins(): readonly Admin[] {
    return [...this.#policy.admins, ...this.#commandLineAdmin];
  }

  addressOf(request: AddressedRequest): string {
    this.#checkProxy(request);
    return clientAddress(request, this.#options.trustProxy ?? false);
  }

  /** The address that opened a socket.io connection, from its handshake: the request's own socket may be gone by now. */
  addressOfSocket({ handshake }: { handshake: { address: string; headers: IncomingHttpHeaders } }): string {
    return this.addressOf({ headers: handshake.headers, socket: { remoteAddress: handshake.address } });
  }

  /** Warns once where requests show that `trustProxy` is off behind a proxy, or on where clients go past it. */
  #checkProxy(request: AddressedRequest): void {
    if (this.#hasDoubtedProxy) return;
    const direct = clientAddress(request, false);
    const doubt = isIP(direct) === 0 ? undefined : proxyDoubt(direct, request, this.#options.trustProxy ?? false);
    if (doubt === undefined) return;
    this.#hasDoubtedProxy = true;
    this.events.emit('report', 'warning', doubt);
  }

  /** The admin with this console token. */
  admin(token: string): Admin | undefined {
    return findByToken(this.#admins, token);
  }

  /** The present entry of an admin who signed in earlier; undefined if it was removed or has another token. */
  adminNow(before: Admin): Admin | undefined {
    return this.#admins.find(({ name, digest }) => name === before.name && digest.equals(before.digest));
  }

  /** The invitation with this token, expired or not. */
  invite(token: string): Invite | undefined {
    return findByToken(this.#policy.invites, token);
  }

  /** Reads the file again. A file that cannot be used changes nothing and is reported. */
  reload(): void {
    const { file } = this.#options;
    if (file === undefined) return;
    try {
      const before = this.#policy;
      const { policy, warnings } = readAccessFile(file);
      this.#policy = policy;
      this.events.emit('report', 'info', `${file} was reloaded: ${describeChange(before, policy)}`);
      for (const warning of warnings) this.events.emit('report', 'warning', warning);
    } catch (error) {
      this.events.emit('report', 'error', `The access rules are unchanged: ${(error as Error).message}`);
      return;
    }
    this.events.emit('change');
  }

  /** Reloads whenever the file changes. Returns a function that stops watching. */
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

function proxyDoubt(direct: string, { headers }: AddressedRequest, trustProxy: boolean): string | undefined {
  const kind = addressKind(direct);
  const isForwarded = headers['x-forwarded-for'] !== undefined;
  if (!trustProxy && isForwarded && (kind === 'loopback' || kind === 'private')) {
    return (
      `A request from ${direct} came with X-Forwarded-For. If a proxy is there, all of its clients count as that address, which ` +
      'undoes limits, quarantines and the protection of this network: start with --trust-proxy.'
    );
  }
  // Programs of this machine, such as a health check, may well go past the proxy.
  if (!trustProxy || isForwarded || kind === 'loopback') return undefined;
  return (
    `A request from ${direct} came without X-Forwarded-For, so past the proxy. With --trust-proxy such a client may name any ` +
    'address as its own: let nothing but the proxy reach this port, or start without --trust-proxy.'
  );
}

/** What a reload changed, by names and numbers; digests stay out of logs. */
function describeChange(before: AccessPolicy, after: AccessPolicy): string {
  const parts: string[] = [];
  for (const list of ['invites', 'apiKeys', 'admins'] as const) {
    const old = byName(before[list] ?? []);
    const now = byName(after[list] ?? []);
    const added = [...now.keys()].filter((name) => !old.has(name));
    const gone = [...old.keys()].filter((name) => !now.has(name));
    const changed = [...now.keys()].filter((name) => old.has(name) && old.get(name) !== now.get(name));
    if (added.length > 0) parts.push(`${list} + ${added.join(', ')}`);
    if (gone.length > 0) parts.push(`${list} − ${gone.join(', ')}`);
    if (changed.length > 0) parts.push(`${list} changed: ${changed.join(', ')}`);
  }
  const tell = (was: boolean, is: boolean, yes: string, no: string): void => {
    if (was !== is) parts.push(is ? yes : no);
  };
  tell(before.inviteOnly, after.inviteOnly, 'an invitation is required', 'anyone may join');
  const needsKey = ({ apiKeys }: AccessPolicy): boolean => apiKeys !== undefined;
  tell(needsKey(before), needsKey(after), 'the API requires a key', 'the API requires no key');
  tell(before.metricsNeedAdmin, after.metricsNeedAdmin, '/metrics requires an admin token', '/metrics is open');
  for (const [limit, value] of Object.entries(after.limits)) {
    if (before.limits[limit as keyof typeof before.limits] !== value) parts.push(`${limit} ${value}`);
  }
  return parts.length === 0 ? 'nothing changed' : parts.join('; ');
}

function byName(entries: readonly { name: string; digest: Buffer }[]): Map<string, string> {
  return new Map(entries.map((entry) => [entry.name, fingerprint(entry)]));
}
