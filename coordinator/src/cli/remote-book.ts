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
import { type AccessBook, AccessError, type AccessErrorReason, type Imported } from '../access/access-book.ts';
import type { AccessFile } from '../access/access-file.ts';

/** A coordinator answers at once, but for a large report. */
const DEADLINE_MS = 30_000;

const REASONS: Readonly<Record<number, AccessErrorReason>> = { 404: 'unknown', 409: 'name-taken', 503: 'away' };

/** The books of a running coordinator, through its `/admin`. */
export class RemoteBook implements AccessBook {
  readonly #url: string;
  readonly #token: string;

  /** `token`: an operator's, or for reading a viewer's. */
  constructor(url: string, token: string) {
    this.#url = url.replace(/\/+$/, '');
    this.#token = token;
  }

  view(): Promise<AccessView> {
    return this.#ask('GET', '/admin/access');
  }

  add<Kind extends AccessKind>(kind: Kind, entry: NewEntry<Kind>): Promise<MadeEntry<Kind>> {
    return this.#ask('POST', `/admin/${kind}`, entry);
  }

  change<Kind extends AccessKind>(kind: Kind, name: string, change: EntryChange<Kind>): Promise<EntryViews[Kind]> {
    return this.#ask('PATCH', `/admin/${kind}/${encodeURIComponent(name)}`, change);
  }

  revoke<Kind extends AccessKind>(kind: Kind, name: string): Promise<EntryViews[Kind]> {
    return this.#ask('DELETE', `/admin/${kind}/${encodeURIComponent(name)}`);
  }

  async setRules(change: RulesChange): Promise<void> {
    await this.#ask('PATCH', '/admin/access', change);
  }

  import(file: AccessFile): Promise<Imported> {
    return this.#ask('POST', '/admin/access/import', file);
  }

  usage(query: UsageQuery): Promise<UsageReport> {
    const given = Object.entries(query).filter((entry): entry is [string, string] => entry[1] !== undefined);
    return this.#ask('GET', `/admin/usage?${new URLSearchParams(given).toString()}`);
  }

  async #ask<T>(method: string, path: string, body?: object): Promise<T> {
    let response: Response;
    try {
      response = await fetch(this.#url + path, {
        method,
        redirect: 'error',
        signal: AbortSignal.timeout(DEADLINE_MS),
        headers: {
          authorization: `Bearer ${this.#token}`,
          ...(body && { 'content-type': 'application/json' }),
        },
        ...(body && { body: JSON.stringify(body) }),
      });
    } catch (error) {
      const message = `No coordinator answers at ${this.#url} (${reasonOf(error)}). Check --url.`;
      throw new AccessError('away', message, { cause: error });
    }
    const answer = (await response.json().catch(() => undefined)) as { error?: { message?: unknown } } | undefined;
    if (response.ok && answer !== undefined) return answer as T;
    const message =
      answer?.error?.message ?? `${this.#url} answered ${response.status}, as no coordinator of this version does.`;
    throw new AccessError(REASONS[response.status] ?? 'invalid', String(message));
  }
}

function reasonOf(error: unknown): string {
  const { cause, message } = error as Error;
  return (cause as NodeJS.ErrnoException | undefined)?.code ?? message;
}
