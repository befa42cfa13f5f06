import { type BansView, newBanSchema } from '@shoal/protocol';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { BanError, banView } from '../bans/index.ts';
import { parseBody } from './body.ts';
import type { AdminAccess, SignedInAdmin } from './deps.ts';
import { ApiError } from './errors.ts';

const STATUS = {
  invalid: [400, 'invalid_value'],
  unknown: [404, 'not_found'],
  full: [409, 'too_many'],
  away: [503, 'database_away'],
} as const;

interface ById {
  Params: { id: string };
}
interface ByKey {
  Params: { key: string };
}

/** Who is kept out of the swarm: for admins to see, and for operators to change. */
export function registerBans(
  app: FastifyInstance,
  { bans, quarantines, note }: Pick<AdminAccess, 'bans' | 'quarantines' | 'note'>,
  adminOf: (request: FastifyRequest) => SignedInAdmin,
): void {
  const view = (): BansView => ({
    bans: bans.all.map(banView),
    quarantines: quarantines().map(({ key, untilMs }) => ({ key, until: new Date(untilMs).toISOString() })),
  });
  const done = (request: FastifyRequest, what: string): BansView => {
    note(request.raw, adminOf(request).name, what);
    return view();
  };
  app.get('/admin/bans', view);
  app.post('/admin/bans', (request, reply) => {
    const { donor, network, minutes, reason } = parseBody(newBanSchema, request.body);
    const subject = donor === undefined ? `network ${network}` : `donor ${donor}`;
    const untilMs = minutes === null ? Number.POSITIVE_INFINITY : Date.now() + minutes * 60_000;
    const made = bans.add({ kind: 'ban', subject, label: '', reason, by: adminOf(request).name, untilMs });
    const how = minutes === null ? 'until it is lifted' : `for ${minutes} min`;
    return made.then(() => reply.code(201).send(done(request, `banned ${subject} ${how}${because(reason)}`)), refuse);
  });
  app.delete<ById>('/admin/bans/:id', (request) => {
    const { id } = request.params;
    const lifted = bans.lift(/^\d{1,15}$/.test(id) ? Number(id) : -1, adminOf(request).name);
    return lifted.then(({ kind, subject }) => done(request, `lifted the ${kind} of ${subject}`), refuse);
  });
  app.delete<ByKey>('/admin/quarantines/:key', (request) => {
    const { key } = request.params;
    if (!quarantines().some((one) => one.key === key))
      throw new ApiError(404, 'This donor or network is in no quarantine; it may have ended.', { code: 'not_found' });
    const lifted = bans.liftQuarantine(key, adminOf(request).name);
    return lifted.then(() => done(request, `ended the quarantine of ${key}`), refuse);
  });
}

const because = (reason: string): string => (reason === '' ? '' : `: ${reason}`);

function refuse(error: unknown): never {
  if (!(error instanceof BanError)) throw error;
  const [status, code] = STATUS[error.reason];
  throw new ApiError(status, error.message, { code });
}
