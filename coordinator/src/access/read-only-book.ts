import type { AccessView, EntryViews, UsageQuery, UsageReport } from '@shoal/protocol';
import type { Access } from './access.ts';
import { type AccessBook, AccessError, type Imported } from './access-book.ts';
import type { AccessFile } from './access-file.ts';
import { rulesView } from './policy.ts';

/** The rules of a coordinator that has them from an access file, or has none. A database beside it can still be written to and read. */
export class ReadOnlyBook implements AccessBook {
  readonly #access: Access;
  readonly #database: Pick<AccessBook, 'import' | 'usage'> | undefined;

  constructor(access: Access, database: Pick<AccessBook, 'import' | 'usage'> | undefined) {
    this.#access = access;
    this.#database = database;
  }

  async view(): Promise<AccessView> {
    const { policy, file = null } = this.#access;
    const unknown = { note: '', created: null, by: null, revoked: null };
    const keys = (policy.apiKeys ?? []).map((key): EntryViews['keys'] => {
      const { name, requestsPerMinute = null, tokensPerMinute = null, tokensPerDay = null, maxConcurrent = null } = key;
      return { name, ...unknown, requestsPerMinute, tokensPerMinute, tokensPerDay, maxConcurrent };
    });
    const invites = policy.invites.map(({ name, expiresMs, maxPeers = null }): EntryViews['invites'] => {
      const expires = Number.isFinite(expiresMs) ? new Date(expiresMs).toISOString() : null;
      return { name, ...unknown, expires, maxPeers };
    });
    const admins = policy.admins.map(({ name, role }): EntryViews['admins'] => ({ name, ...unknown, role }));
    const source = file === null ? 'none' : 'file';
    return { source, file, away: null, rules: rulesView(policy), keys, invites, admins };
  }

  add(): Promise<never> {
    return this.#refused();
  }

  change(): Promise<never> {
    return this.#refused();
  }

  revoke(): Promise<never> {
    return this.#refused();
  }

  setRules(): Promise<never> {
    return this.#refused();
  }

  /** So that a coordinator can go from its file to the database: it is started without the file afterwards. */
  import(file: AccessFile): Promise<Imported> {
    return this.#database?.import(file) ?? this.#refused();
  }

  usage(query: UsageQuery): Promise<UsageReport> {
    if (this.#database) return this.#database.usage(query);
    const message =
      'This coordinator keeps no usage: it was started with --database none. /metrics has it since the start.';
    return Promise.reject(new AccessError('read-only', message));
  }

  #refused(): Promise<never> {
    const { file } = this.#access;
    const why =
      file === undefined
        ? 'This coordinator keeps nothing that could be changed: it was started with --database none.'
        : `The rules are in ${file} (--access): change them there. To change them here, copy it once with ` +
          '"npx shoal access import", and start without --access.';
    return Promise.reject(new AccessError('read-only', why));
  }
}
