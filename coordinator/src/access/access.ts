import { EventEmitter } from 'node:events';
import { unwatchFile, watchFile } from 'node:fs';
import type { IncomingHttpHeaders } from 'node:http';
import { isIP } from 'node:net';
import { clientAddress, type AddressedRequest } from '../base/address.ts';
import { addressKind } from '../base/networks.ts';
import { readAccessFile } from './access-file.ts';
import { type AccessPolicy, type Admin, describeChange, type Invite, OPEN_POLICY } from './policy.ts';
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

/** The access rules in force, as they were last read from the access file or the database. Nothing in a request waits for either. */
export class Access {
  /** Problems found in the file at startup. */
  readonly warnings: readonly string[];
  /**
   * `report`: the outcome of a reload: what changed, a warning, or why it failed; and a proxy that `trustProxy` does not fit.
   * `change`: the rules were replaced. `view`: what admins see of them has changed.
   */
  readonly events = new EventEmitter<{ report: [level: ReportLevel, text: string]; change: []; view: [] }>();
  /** Refusals since startup. */
  readonly refusals = Object.fromEntries(REFUSALS.map((what) => [what, 0])) as Record<Refusal, number>;
  readonly #options: AccessOptions;
  /** Of this process alone. */
  readonly #ownAdmins: Admin[] = [];
  /** As the access file or the database states it. */
  #stated: AccessPolicy;
  /** Whether an invitation is required, whatever the rules state; undefined: as they state. */
  #inviteOnly: boolean | undefined;
  #policy: AccessPolicy;
  #hasDoubtedProxy = false;

  /** Throws an AccessFileError if the file cannot be used. */
  constructor(options: AccessOptions) {
    this.#options = options;
    const { adminToken, file } = options;
    if (adminToken !== undefined) this.addOperator('admin', adminToken);
    const { policy, warnings } = file === undefined ? { policy: OPEN_POLICY, warnings: [] } : readAccessFile(file);
    this.#stated = policy;
    this.#policy = policy;
    this.warnings = warnings;
  }

  get policy(): AccessPolicy {
    return this.#policy;
  }

  /** Whether the access file or the database says that an invitation is required. */
  get statedInviteOnly(): boolean {
    return this.#stated.inviteOnly;
  }

  /** The access file that the rules are from. */
  get file(): string | undefined {
    return this.#options.file;
  }

  get #admins(): readonly Admin[] {
    return [...this.#policy.admins, ...this.#ownAdmins];
  }

  /** Lets one more operator in, as long as this process runs. */
  addOperator(name: string, token: string): void {
    this.#ownAdmins.push({ name, digest: digestOf(token), role: 'operator' });
  }

  /** Replaces the rules, and reports what that changed. */
  replace(policy: AccessPolicy, source: string): void {
    const change = this.#take(policy);
    if (change === undefined) return;
    this.events.emit('report', 'info', `${source}: ${change}`);
    this.events.emit('change');
  }

  /** Requires an invitation or none, whatever the rules state; undefined: as they state. */
  requireInvitation(required: boolean | undefined): void {
    this.#inviteOnly = required;
    if (this.#take(this.#stated) === undefined) return;
    this.events.emit('change');
    this.events.emit('view');
  }

  /** Puts rules in force. Returns what that changes; undefined if nothing. */
  #take(stated: AccessPolicy): string | undefined {
    const before = this.#policy;
    this.#stated = stated;
    this.#policy = { ...stated, inviteOnly: this.#inviteOnly ?? stated.inviteOnly };
    return describeChange(before, this.#policy);
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
      const { policy, warnings } = readAccessFile(file);
      const change = this.#take(policy) ?? 'nothing changed';
      this.events.emit('report', 'info', `${file} was reloaded: ${change}`);
      for (const warning of warnings) this.events.emit('report', 'warning', warning);
    } catch (error) {
      this.events.emit('report', 'error', `The access rules are unchanged: ${(error as Error).message}`);
      return;
    }
    this.events.emit('change');
    this.events.emit('view');
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
