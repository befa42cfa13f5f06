import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { AdminAccess, SignedInAdmin } from './deps.ts';
import { ApiError } from './errors.ts';

const AWAY = 'The coordinator can’t reach its database at the moment, so nothing was changed. Try again in a minute.';

interface ByName {
  Params: { name: string };
}
interface ById {
  Params: { id: string };
}

/** What donors call themselves and their teams on public pages: operators take it away. What was done stays counted. */
export function registerNames(
  app: FastifyInstance,
  { names, note }: Pick<AdminAccess, 'names' | 'note'>,
  adminOf: (request: FastifyRequest) => SignedInAdmin,
): void {
  if (!names) return;
  const done = async (request: FastifyRequest, work: Promise<boolean>, what: string, missing: string) => {
    const isDone = await work.catch(() => {
      throw new ApiError(503, AWAY, { code: 'database_away' });
    });
    if (!isDone) throw new ApiError(404, missing, { code: 'not_found' });
    note(request.raw, adminOf(request).name, what);
    return { done: true };
  };
  app.delete<ByName>('/admin/names/:name', (request) => {
    const { name } = request.params;
    return done(request, names.clearName(name), `took the name ${name} from a donor`, 'No donor has this name.');
  });
  app.delete<ById>('/admin/teams/:id', (request) => {
    const { id } = request.params;
    const isNumber = /^\d{1,9}$/.test(id);
    const work = isNumber ? names.dissolveTeam(Number(id)) : Promise.resolve(false);
    return done(request, work, `dissolved the team ${id}`, 'There is no team with this number.');
  });
}
