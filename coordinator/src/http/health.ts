import type { FastifyInstance } from 'fastify';
import type { HttpDeps } from './deps.ts';

export function registerHealth(app: FastifyInstance, deps: Pick<HttpDeps, 'readiness' | 'registry'>): void {
  const startedMs = performance.now();
  app.get('/healthz', (_request, reply) =>
    reply
      .header('cache-control', 'no-store')
      .send({ status: 'up', uptimeMs: Math.round(performance.now() - startedMs) }),
  );
  app.get('/readyz', (_request, reply) => {
    const { ready, detail } = deps.readiness();
    return reply
      .code(ready ? 200 : 503)
      .header('cache-control', 'no-store')
      .send({ ready, ...detail });
  });
  app.get('/metrics', async (_request, reply) =>
    reply
      .type(deps.registry.contentType)
      .header('cache-control', 'no-store')
      .send(await deps.registry.metrics()),
  );
}
