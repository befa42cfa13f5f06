import { createHash, randomUUID } from 'node:crypto';
import Fastify, { LogController, type FastifyInstance } from 'fastify';
import { VERSION } from '../base/version.ts';
import { registerAdmin } from './admin.ts';
import { registerApiAccess } from './api-access.ts';
import { servedUrl } from './api-paths.ts';
import { registerJsonBody } from './body.ts';
import { DEFAULT_HTTP_LIMITS, type HttpDeps, type HttpLimits } from './deps.ts';
import { registerDonorInfo } from './donor-info.ts';
import { registerEdge, sendError } from './edge.ts';
import { registerEndpoints } from './endpoints.ts';
import { registerHealth } from './health.ts';
import { type HttpMetrics, registerHttpMetrics } from './metrics.ts';
import { registerLora } from './lora.ts';
import { registerModels } from './models.ts';
import { openApiDocument } from './openapi.ts';
import { OrderlyServer } from './orderly-server.ts';
import { registerPages } from './pages.ts';
import { registerShards } from './shards.ts';
import { registerSwarm } from './swarm.ts';
import { registerSignedMirrors } from './signed-mirrors.ts';

/** How often Node looks for connections past their header or request timeout. */
const MAX_CONNECTION_CHECK_MS = 5_000;
/** The length of OpenAI's fingerprints. */
const FINGERPRINT_DIGITS = 10;

/** The HTTP server, ready to `listen`. Drain the scheduler before closing it: `close` waits for answers under way. */
export async function buildHttpServer(deps: HttpDeps): Promise<FastifyInstance> {
  const limits: HttpLimits = { ...DEFAULT_HTTP_LIMITS, ...deps.limits };
  const metrics = registerHttpMetrics(deps.registry, deps.mirrors?.tabBytes);
  const app = createApp(deps, limits, metrics);

  registerJsonBody(app, limits.bodyBytes);
  registerEdge(app, {
    log: deps.log,
    limits,
    metrics,
    corsOrigins: deps.corsOrigins ?? '*',
    connectOrigins: (deps.mirrors?.urls ?? []).map(({ origin }) => origin),
  });
  if (deps.access) registerApiAccess(app, deps.access, deps.registry);
  if (deps.access?.admin) registerAdmin(app, deps.access.admin, deps.watch);
  registerModels(app, deps);
  registerLora(app, deps);
  const systemFingerprint = deps.systemFingerprint ?? fingerprint(deps.generation.modelId);
  registerEndpoints(app, { ...deps, limits, metrics, systemFingerprint });
  registerShards(app, deps, metrics);
  if (deps.mirrors) registerSignedMirrors(app, deps, deps.mirrors);
  if (deps.donorInfo) registerDonorInfo(app, deps.donorInfo);
  if (deps.swarmPage) registerSwarm(app, deps.swarmPage);
  registerHealth(app, { ...deps, version: VERSION });
  registerDocument(app, deps, limits);
  await registerPages(app, deps.staticRoots, deps);
  await app.ready();
  return app;
}

function createApp(deps: HttpDeps, limits: HttpLimits, metrics: HttpMetrics): FastifyInstance {
  return Fastify({
    loggerInstance: deps.log,
    // Fastify's own lines quote URLs; `edge.ts` writes one line per request instead.
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: () => randomUUID(),
    requestIdHeader: false,
    rewriteUrl: ({ url }) => servedUrl(url ?? '/'),
    bodyLimit: limits.bodyBytes,
    routerOptions: { maxParamLength: limits.paramChars },
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    serverFactory: (handler) => createServer(limits, metrics, deps.listener).on('request', handler),
    frameworkErrors: (error, request, reply) => sendError(error, request, reply),
    // `edge.ts` handles these itself, since it knows the connections.
    clientErrorHandler: () => {},
  }) as unknown as FastifyInstance;
}

function createServer(limits: HttpLimits, metrics: HttpMetrics, listener: HttpDeps['listener']): OrderlyServer {
  return new OrderlyServer({
    listener,
    connections: limits.connections,
    waitingPerConnection: limits.waitingPerConnection,
    waitingInAll: limits.waitingInAll,
    onOverflow: () => metrics.pipelineOverflows.inc(),
    maxHeaderSize: limits.headerBytes,
    headersTimeout: limits.headersTimeoutMs,
    requestTimeout: limits.requestTimeoutMs,
    keepAliveTimeout: limits.keepAliveTimeoutMs,
    connectionsCheckingInterval: Math.min(MAX_CONNECTION_CHECK_MS, limits.headersTimeoutMs),
  });
}

/** What the page at /docs shows. */
function registerDocument(app: FastifyInstance, { generation }: HttpDeps, { bodyBytes }: HttpLimits): void {
  const { modelId, maxContext } = generation;
  const document = openApiDocument({ version: VERSION, modelId, maxContext, bodyBytes });
  app.get('/openapi.json', () => document);
}

function fingerprint(modelId: string): string {
  const digest = createHash('sha256').update(`${modelId}\n${VERSION}\n${process.version}`).digest('hex');
  return `fp_${digest.slice(0, FINGERPRINT_DIGITS)}`;
}
