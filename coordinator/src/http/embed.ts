import type { FastifyInstance, FastifyReply } from 'fastify';
import { ancestorsOf } from '../base/network-values.ts';

/**
 * What other sites show (docs/OPERATIONS.md, ADR 36): `/donate.js`, a module that any origin may load, and the page `/embed`, the
 * only one that may be framed, by `sites`.
 */
export function registerEmbed(app: FastifyInstance, root: string, sites: () => string): void {
  app.get('/donate.js', (_request, reply) => sharable(reply).sendFile('donate.js', root));
  app.get('/embed', (_request, reply) => {
    const policy = String(reply.getHeader('content-security-policy'));
    sharable(reply).header(
      'content-security-policy',
      policy.replace("frame-ancestors 'none'", `frame-ancestors ${ancestorsOf(sites())}`),
    );
    return reply.sendFile('embed.html', root);
  });
}

/** Modules are fetched by CORS, and sites that are isolated (COEP) take from other origins only what says that they may. */
function sharable(reply: FastifyReply): FastifyReply {
  return reply.headers({ 'access-control-allow-origin': '*', 'cross-origin-resource-policy': 'cross-origin' });
}
