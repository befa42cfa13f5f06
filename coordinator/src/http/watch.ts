import { type History, historyQuerySchema } from '@shoal/protocol';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { parseBody } from './body.ts';
import type { WatchAccess } from './deps.ts';
import { ApiError } from './errors.ts';

/** Histories that are read at a time: a database has few connections. */
const MAX_READING = 4;
const BUSY = 'Many histories are being read. Ask again in a second.';
const AWAY = 'The database does not answer, so its history cannot be read. Figures of now are in the console.';

/** What happened over hours and weeks, and what is told of it, for admins. The prefix /admin is guarded already. */
export function registerWatch(
  app: FastifyInstance,
  watch: WatchAccess,
  nameOf: (request: FastifyRequest) => string,
): void {
  let reading = 0;
  const read = async (request: FastifyRequest): Promise<History> => {
    const query = parseBody(historyQuerySchema, request.query);
    if (reading >= MAX_READING) throw new ApiError(503, BUSY, { code: 'busy', headers: { 'retry-after': '1' } });
    reading++;
    try {
      return await watch.history(query);
    } catch (error) {
      request.log.warn({ err: error }, 'the history could not be read');
      throw new ApiError(503, AWAY, { code: 'database_away' });
    } finally {
      reading--;
    }
  };
  app.get('/admin/history', (request) => read(request));
  app.get('/admin/alerts', () => watch.alerts());
  app.post('/admin/alerts/test', (request) => test(watch, nameOf(request)));
}

/** Coordinators whose alerts are being tested: each test may take ten seconds. */
const testing = new WeakSet<WatchAccess>();

async function test(watch: WatchAccess, admin: string): Promise<{ delivered: true }> {
  if (watch.alerts().webhook === null)
    throw new ApiError(409, 'There is no webhook. Set one first.', { code: 'no_webhook' });
  if (testing.has(watch)) throw new ApiError(409, 'Another test is under way.', { code: 'busy' });
  testing.add(watch);
  try {
    const fault = await watch.testAlert(admin);
    if (fault !== null) throw new ApiError(502, `The message was not delivered: ${fault}.`, { code: 'not_delivered' });
    return { delivered: true };
  } finally {
    testing.delete(watch);
  }
}
