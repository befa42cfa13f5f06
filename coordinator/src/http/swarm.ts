import type { SwarmView, TeamView } from '@shoal/protocol';
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { parseBody } from './body.ts';
import { ApiError } from './errors.ts';

/** What everybody may know. Each rejects while the database is away. */
export interface SwarmPage {
  view(): Promise<SwarmView>;
  team(id: number): Promise<TeamView | undefined>;
  picture(id: string): Promise<string | undefined>;
}

const MAX_AGE_S = 10;
const CACHED = `public, max-age=${MAX_AGE_S}`;
const AWAY = 'The coordinator can’t reach its database at the moment. Ask again in a minute.';

const querySchema = z.object({
  team: z
    .string()
    .regex(/^\d{1,12}$/, 'must be the number of a team')
    .transform(Number)
    .optional(),
});
const PICTURE = /^([\w-]{22,64})\.svg$/;

/** `GET /swarm.json`, of the swarm or with `?team=` of one team, and `GET /swarm/pictures/NAME.svg`. */
export function registerSwarm(app: FastifyInstance, page: SwarmPage): void {
  app.get('/swarm.json', async (request, reply) => {
    const { team } = parseBody(querySchema, request.query);
    const found = await orAway<SwarmView | TeamView | undefined>(() =>
      team === undefined ? page.view() : page.team(team),
    );
    if (!found) throw new ApiError(404, 'There is no such team.', { param: 'team', code: 'no_team' });
    return reply.header('cache-control', CACHED).send(found);
  });
  app.get<{ Params: { '*': string } }>('/swarm/pictures/*', async ({ params }, reply) => {
    const [, name] = PICTURE.exec(params['*']) ?? [];
    const picture = name === undefined ? undefined : await orAway(() => page.picture(name));
    if (picture === undefined) throw new ApiError(404, 'There is no such picture.', { code: 'no_picture' });
    return (
      reply
        .type('image/svg+xml; charset=utf-8')
        .header('cache-control', CACHED)
        // Opened by itself it is a document, which must do nothing.
        .header('content-security-policy', "default-src 'none'; style-src 'unsafe-inline'; sandbox")
        // Other sites may show it.
        .header('cross-origin-resource-policy', 'cross-origin')
        .send(picture)
    );
  });
}

async function orAway<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch {
    throw new ApiError(503, AWAY, { code: 'database_away', headers: { 'retry-after': '60' } });
  }
}
