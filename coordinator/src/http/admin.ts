import {
  ACCESS_KINDS,
  type AccessKind,
  entryChangeSchemas,
  newEntrySchemas,
  rulesChangeSchema,
  usageQuerySchema,
} from '@shoal/protocol';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { z } from 'zod';
import { type AccessBook, AccessError, type AccessErrorReason, aNoun } from '../access/access-book.ts';
import { AccessFileError, checkAccessFile } from '../access/access-file.ts';
import { usageCsv, usageWindow } from '../access/usage-query.ts';
import { keyNameOf } from './api-access.ts';
import { parseBody } from './body.ts';
import { registerBans } from './admin-bans.ts';
import { registerNames } from './admin-names.ts';
import { registerSettings } from './admin-settings.ts';
import type { AdminAccess, OperatorRefusal, SignedInAdmin, WatchAccess } from './deps.ts';
import { ApiError } from './errors.ts';
import { registerWatch } from './watch.ts';

const PREFIX = '/admin/';
export const USAGE_URL = '/v1/usage';
const BUSY = 'Many reports of usage are being read. Ask again in a second.';
const NO_KEYS = 'This coordinator requires no API key, so none has used anything. Admins read GET /admin/usage.';

interface ByName {
  Params: { name: string };
}

/** Who may do what, and what was used: for admins to see, and for operators to change. */
export function registerAdmin(app: FastifyInstance, admin: AdminAccess, watch?: WatchAccess): void {
  const admins = new WeakMap<FastifyRequest, SignedInAdmin>();
  const adminOf = (request: FastifyRequest): SignedInAdmin => admins.get(request)!;
  app.addHook('onRequest', async (request, reply) => {
    if (!request.routeOptions.url?.startsWith(PREFIX)) return;
    // A new token is in an answer.
    reply.header('cache-control', 'no-store');
    const needs = request.method === 'GET' || request.method === 'HEAD' ? 'viewer' : 'operator';
    const checked = admin.check(request.raw, request.headers.authorization, needs);
    if ('status' in checked) throw refused(checked);
    admins.set(request, checked);
  });
  /** Runs `work` with the books, and notes what came of it. */
  const within = async <T>(
    request: FastifyRequest,
    work: (book: AccessBook) => Promise<T>,
    done: (result: T) => string,
  ): Promise<T> => {
    const { name } = adminOf(request);
    const result = await told(() => work(admin.book(name)));
    admin.note(request.raw, name, done(result));
    return result;
  };
  for (const kind of ACCESS_KINDS) registerEntries(app, kind, within);
  const bookOf = (request: FastifyRequest): AccessBook => admin.book(adminOf(request).name);
  registerRules(app, bookOf, within);
  registerUsage(app, bookOf, admin);
  registerSettings(app, admin, adminOf);
  registerBans(app, admin, adminOf);
  registerNames(app, admin, adminOf);
  if (watch) registerWatch(app, watch, (request) => adminOf(request).name);
}

/** Reports that are read at a time: a database has few connections, and anybody with a key may ask. */
const MAX_REPORTS = 8;

function registerUsage(
  app: FastifyInstance,
  bookOf: (request: FastifyRequest) => AccessBook,
  admin: AdminAccess,
): void {
  let reading = 0;
  const bounded = async (work: () => Promise<FastifyReply>): Promise<FastifyReply> => {
    if (reading >= MAX_REPORTS) throw new ApiError(503, BUSY, { code: 'busy', headers: { 'retry-after': '1' } });
    reading++;
    try {
      return await work();
    } finally {
      reading--;
    }
  };
  app.get('/admin/usage', (request, reply) => bounded(() => sendUsage(request, reply, bookOf(request))));
  app.get(USAGE_URL, (request, reply) => {
    const key = keyNameOf(request);
    if (key === undefined) throw new ApiError(404, NO_KEYS, { code: 'no_api_keys' });
    return bounded(() => sendUsage(request, reply, admin.book(key), key));
  });
}

type Within = <T>(
  request: FastifyRequest,
  work: (book: AccessBook) => Promise<T>,
  done: (result: T) => string,
) => Promise<T>;

function registerEntries<Kind extends AccessKind>(app: FastifyInstance, kind: Kind, within: Within): void {
  const url = `${PREFIX}${kind}`;
  const noun = aNoun(kind).replace(/^an? /, 'the ');
  app.post(url, async (request, reply) => {
    const entry = parseBody<z.infer<(typeof newEntrySchemas)[AccessKind]>>(newEntrySchemas[kind], request.body);
    const made = await within(
      request,
      (book) => book.add(kind, entry as never),
      () => `made ${noun} ${entry.name}`,
    );
    return reply.code(201).send(made);
  });
  app.patch<ByName>(`${url}/:name`, (request) => {
    const { name } = request.params;
    const change = parseBody<z.infer<(typeof entryChangeSchemas)[AccessKind]>>(entryChangeSchemas[kind], request.body);
    return within(
      request,
      (book) => book.change(kind, name, change as never),
      () => `changed ${noun} ${name}`,
    );
  });
  app.delete<ByName>(`${url}/:name`, (request) => {
    const { name } = request.params;
    return within(
      request,
      (book) => book.revoke(kind, name),
      () => `revoked ${noun} ${name}`,
    );
  });
}

function registerRules(app: FastifyInstance, bookOf: (request: FastifyRequest) => AccessBook, within: Within): void {
  app.get('/admin/access', (request) => told(() => bookOf(request).view()));
  app.patch('/admin/access', (request) => {
    const change = parseBody(rulesChangeSchema, request.body);
    const words = Object.entries(change).map(([name, value]) => `${name} ${value ?? 'by default'}`);
    return within(
      request,
      (book) => book.setRules(change).then(() => book.view()),
      () => `set ${words.join(', ')}`,
    );
  });
  app.post('/admin/access/import', (request) =>
    within(
      request,
      async (book) => book.import(checkAccessFile(request.body, 'The access file')),
      ({ copied }) => `copied ${copied.length} entries of an access file`,
    ),
  );
}

/** Sends what all keys have used, or what the one named `key` has. */
async function sendUsage(
  request: FastifyRequest,
  reply: FastifyReply,
  book: AccessBook,
  key?: string,
): Promise<FastifyReply> {
  const query = parseBody(usageQuerySchema, request.query);
  if (key !== undefined && query.key !== undefined && query.key !== key)
    throw new ApiError(403, 'A key sees its own usage only. Leave out key.', { param: 'key', code: 'not_your_key' });
  const asked = { ...query, ...(key !== undefined && { key }) };
  const report = await told(() => book.usage(asked));
  reply.header('cache-control', 'no-store').header('vary', 'Accept');
  const wantsCsv =
    query.format === 'csv' || (query.format === undefined && /\btext\/csv\b/.test(request.headers.accept ?? ''));
  if (!wantsCsv) return reply.send(report);
  reply.header('content-disposition', `attachment; filename="shoal-usage-${report.from}-${report.to}.csv"`);
  return reply.type('text/csv; charset=utf-8').send(usageCsv(report, usageWindow(asked).by));
}

function refused({ status, code, message }: OperatorRefusal): ApiError {
  return new ApiError(status, message, { code });
}

const STATUS: Readonly<Record<AccessErrorReason, readonly [status: number, code: string]>> = {
  unknown: [404, 'not_found'],
  'name-taken': [409, 'name_taken'],
  full: [409, 'too_many'],
  'read-only': [409, 'read_only'],
  away: [503, 'database_away'],
  invalid: [400, 'invalid_value'],
};

/** An operator is told in full what is wrong. */
async function told<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof AccessFileError) throw ApiError.invalid(null, error.message, 'invalid_value');
    if (!(error instanceof AccessError)) throw error;
    const [status, code] = STATUS[error.reason];
    throw new ApiError(status, error.message, { code });
  }
}
