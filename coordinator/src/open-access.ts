import type { IncomingMessage } from 'node:http';
import type { Logger } from 'pino';
import { Access, type ReportLevel } from './access/access.ts';
import type { AccessBook } from './access/access-book.ts';
import { ApiKeys, type RecordUsage } from './access/api-keys.ts';
import { type MakeBudget, ownBudgets } from './access/budgets.ts';
import { DatabaseBook } from './access/database-book.ts';
import { ReadOnlyBook } from './access/read-only-book.ts';
import { SignInGuard } from './access/sign-in.ts';
import { StoredAccess } from './access/stored-access.ts';
import { newToken } from './access/token.ts';
import { followTodaysUsage } from './access/todays-usage.ts';
import { addressKey } from './base/address.ts';
import type { EventLog } from './base/event-log.ts';
import { NetworkBuckets } from './base/token-bucket.ts';
import type { Config } from './config.ts';
import { leaveControl } from './control-file.ts';
import type { Database } from './database/index.ts';
import {
  type AdminAccess,
  bearerToken,
  type HttpAccess,
  type OperatorRefusal,
  type SignedInAdmin,
} from './http/index.ts';
import type { SharedParts } from './open-cluster.ts';
import type { Records } from './records/index.ts';
import type { Bans } from './bans/index.ts';
import type { Settings } from './settings/index.ts';
import type { Quarantine } from './trust/quarantine.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** The name of the operator that commands on the coordinator's machine act as. */
const LOCAL_OPERATOR = 'local';

/** A viewer's token is enough, since metrics show less than the console. */
const METRICS_NEED_ADMIN =
  'The metrics are for admins. Send a viewer’s or operator’s token as Authorization: Bearer TOKEN (Prometheus: authorization.credentials_file).';

const NEEDS = {
  viewer: 'This is for admins. Send a viewer’s or operator’s token as Authorization: Bearer TOKEN.',
  operator: 'This is for operators. Send an operator’s token as Authorization: Bearer TOKEN.',
};

/** The rules of the access file, where there is one; those in a database join by `openBooks`. */
export function openAccess({ accessFile: file, adminToken, trustProxy }: Config): Access {
  return new Access({ file, adminToken, trustProxy });
}

/** What outlives the process. */
type Kept = Pick<Records, 'database'> & {
  queue: Pick<Records['queue'], 'flush'>;
  usage: Pick<Records['usage'], 'add'>;
};

/** The books of a coordinator, and how its console is entered. */
export interface Books {
  /** The console's token, if it is known: given, or made just now. */
  adminToken: string | undefined;
  book(by: string): AccessBook;
  /** Lets commands on this machine through, until the coordinator is closed. */
  leaveControl(url: string): Promise<void>;
  close(): Promise<void>;
}

/**
 * Reads who may do what from the database, unless an access file says it. Where nobody could sign in, an operator is made: in the
 * database, where its token stays valid, or else for as long as this process runs.
 */
export async function openBooks(access: Access, { adminToken }: Config, kept: Kept | undefined): Promise<Books> {
  const database = kept?.database;
  const flush = (): Promise<unknown> => kept?.queue.flush() ?? Promise.resolve();
  const stored = database && access.file === undefined ? await StoredAccess.open(database, access, flush) : undefined;
  const book = (by: string): AccessBook =>
    stored?.book(by) ?? new ReadOnlyBook(access, database && new DatabaseBook(database, by, flush));
  let stopControl: (() => Promise<void>) | undefined;
  return {
    adminToken: adminToken ?? (await newAdminToken(access, database, stored)),
    book,
    async leaveControl(url) {
      if (database?.kind !== 'embedded' || database.place === 'memory') return;
      const token = newToken();
      access.addOperator(LOCAL_OPERATOR, token);
      stopControl = await leaveControl(database.place, { url, token });
    },
    async close() {
      await stopControl?.();
      await stored?.close();
    },
  };
}

/** The token of an operator that had to be made; undefined where there are admins, or were. */
async function newAdminToken(
  access: Access,
  database: Database | undefined,
  stored: StoredAccess | undefined,
): Promise<string | undefined> {
  if (database && stored) {
    const token = await new DatabaseBook(database, 'the coordinator').addFirstAdmin();
    await stored.refresh();
    return token;
  }
  if (access.policy.admins.length > 0) return undefined;
  const token = newToken();
  access.addOperator('admin', token);
  return token;
}

export interface HttpAccessOptions {
  access: Access;
  books: Books;
  events: EventLog;
  settings: Settings;
  bans: Bans;
  quarantine: Pick<Quarantine, 'list'>;
  kept: Kept | undefined;
  contributions?: AdminAccess['names'];
  /** The model whose usage it is where no adapter is named. */
  modelId: string;
  /** What is counted with other coordinators. */
  shared?: SharedParts | undefined;
}

/** Limits of a minute are shared; what a day has used, the database says. */
function sharedBudgets({ newBucket }: SharedParts): MakeBudget {
  const own = ownBudgets();
  return (name, key, before) =>
    name === 'tokensPerDay' ? own(name, key, before) : newBucket(`${name} ${key.name}`, key[name]!, MINUTE_MS);
}

/** The access rules as the HTTP server uses them. */
export async function httpAccess(options: HttpAccessOptions): Promise<HttpAccess & { close(): void }> {
  const { access, books, events, settings, bans, quarantine, kept, modelId, shared, contributions } = options;
  const limit = (): number => access.policy.limits.shardBytesPerHourPerAddress;
  const allowances = new NetworkBuckets(limit(), HOUR_MS, {
    newBucket: shared && ((key, ...rest) => shared.newBucket(`shards ${key}`, ...rest)),
  });
  const guard = new SignInGuard(access);
  const addressOf = (request: IncomingMessage): string => addressKey(access.addressOf(request));
  const record: RecordUsage = (key, model = modelId, counts) => kept?.usage.add({ key, model, ...counts });
  const keys = new ApiKeys(access, {
    record,
    ...(shared && { makeBudget: sharedBudgets(shared), elsewhere: shared.answers }),
  });
  const stopFollowing = kept ? await followTodaysUsage(kept.database, access, keys) : () => {};
  const check: AdminAccess['check'] = (request, authorization, needs) =>
    checkAdmin(access, guard, request, authorization, needs);
  return {
    keys,
    addressOf,
    takeShardBytes(request, bytes) {
      allowances.setCapacity(limit());
      const waitMs = allowances.take(access.addressOf(request), bytes);
      if (waitMs > 0) access.refusals.shard++;
      return waitMs;
    },
    refuseMetrics(request, token) {
      if (!access.policy.metricsNeedAdmin) return undefined;
      if (token === undefined) return METRICS_NEED_ADMIN;
      const signIn = guard.signIn(access.addressOf(request), token);
      return signIn.ok ? undefined : signIn.message;
    },
    refuseOperator(request, authorization) {
      const checked = check(request, authorization, 'operator');
      return 'status' in checked ? checked : undefined;
    },
    admin: {
      check,
      settings,
      bans,
      quarantines: () => quarantine.list(),
      names: kept && contributions,
      book: (by) => books.book(by),
      note(request, admin, what) {
        const text = `The operator (${admin}, ${access.addressOf(request)}) ${what}`;
        events.add({ level: 'info', kind: 'server', text });
      },
    },
    close: stopFollowing,
  };
}

/** The admin with this Authorization header, if the role is enough. */
function checkAdmin(
  access: Access,
  guard: SignInGuard,
  request: IncomingMessage,
  authorization: string | undefined,
  needs: 'viewer' | 'operator',
): SignedInAdmin | OperatorRefusal {
  const token = bearerToken(authorization);
  if (token === undefined) return { status: 401, code: 'operator_token_missing', message: NEEDS[needs] };
  const signIn = guard.signIn(access.addressOf(request), token);
  if (!signIn.ok) return { status: 401, code: 'operator_token_wrong', message: signIn.message };
  const { name, role } = signIn.admin;
  if (needs === 'viewer' || role === 'operator') return { name, role };
  return { status: 403, code: 'operator_needed', message: `${name} is a viewer. ${NEEDS.operator}` };
}

/** Reloads the access file whenever it changes, and reports all changes of the rules in the log and the console. Returns the call that stops. */
export function watchAccess(access: Access, events: EventLog, log: Logger): () => void {
  const report = (level: ReportLevel, text: string): void => {
    events.add({ level, kind: 'server', text });
    log[level === 'warning' ? 'warn' : level](text);
  };
  access.events.on('report', report);
  for (const warning of access.warnings) report('warning', warning);
  return access.watch();
}
