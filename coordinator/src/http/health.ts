import type { FastifyInstance } from 'fastify';
import type { Registry } from 'prom-client';
import { TokenBucket } from '../base/token-bucket.ts';
import type { HttpDeps } from './deps.ts';

/** One takes 3 ms. A few scrapers may ask at once, and none asks more often than each second. */
const MAX_RENDERS_PER_SECOND = 5;

type HealthDeps = Pick<HttpDeps, 'readiness' | 'registry'> & { version: string };

export function registerHealth(app: FastifyInstance, deps: HealthDeps): void {
  const startedMs = performance.now();
  app.get('/healthz', (_request, reply) =>
    reply
      .header('cache-control', 'no-store')
      .send({ status: 'up', version: deps.version, uptimeMs: Math.round(performance.now() - startedMs) }),
  );
  app.get('/readyz', (_request, reply) => {
    const { ready, detail } = deps.readiness();
    return reply
      .code(ready ? 200 : 503)
      .header('cache-control', 'no-store')
      .send({ ready, ...detail });
  });
  // The names that vLLM, llama.cpp and cloud platforms ask for.
  for (const url of ['/health', '/ping']) {
    app.route({
      url,
      method: url === '/ping' ? ['GET', 'POST'] : 'GET',
      handler: (_request, reply) => {
        const { ready } = deps.readiness();
        const status = ready ? 'ok' : 'unavailable';
        return reply
          .code(ready ? 200 : 503)
          .header('cache-control', 'no-store')
          .send({ status });
      },
    });
  }
  app.get('/version', () => ({ version: deps.version }));
  const metrics = sharedMetrics(deps.registry);
  app.get('/metrics', async (_request, reply) =>
    reply
      .type(deps.registry.contentType)
      .header('cache-control', 'no-store')
      .send(await metrics()),
  );
}

/** Renders the metrics, or returns what was rendered last while there are more requests than MAX_RENDERS_PER_SECOND. */
function sharedMetrics(registry: Registry): () => Promise<Buffer> {
  const renders = new TokenBucket(MAX_RENDERS_PER_SECOND, 1000);
  let latest: Promise<Buffer> | undefined;
  return () => {
    if (latest && renders.take() > 0) return latest;
    return (latest = registry.metrics().then((text) => Buffer.from(text)));
  };
}
