import type { Socket } from 'node:net';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import { keyNameOf } from './api-access.ts';
import { apiMethods, isCrossOrigin, similarPath } from './api-paths.ts';
import { Connections } from './connections.ts';
import type { HttpDeps, HttpLimits } from './deps.ts';
import { shapedError } from './error-shape.ts';
import { ApiError, describeFailure, toApiError } from './errors.ts';
import { corsHeaders, SECURITY_HEADERS, securityHeaders } from './headers.ts';
import { HostHeaderError } from './host-header.ts';
import type { HttpMetrics } from './metrics.ts';

export interface EdgeDeps {
  log: Logger;
  limits: HttpLimits;
  metrics: HttpMetrics;
  corsOrigins: NonNullable<HttpDeps['corsOrigins']>;
  /** Origins besides this one that the pages may fetch from. */
  connectOrigins: readonly string[];
}

/** What applies to every request: headers, CORS, 404 and 405, one shape of errors, one log line and one observation. */
export function registerEdge(app: FastifyInstance, deps: EdgeDeps): void {
  const connections = new Connections(app.server);
  const ofAll = securityHeaders(deps.connectOrigins);
  app.server.on('clientError', (error, socket) => answerClientError(error, socket as Socket, connections));
  app.addHook('preClose', (done) => {
    connections.close();
    done();
  });

  app.addHook('onRequest', async (request, reply) => {
    const path = pathOf(request.raw.url);
    observeEnd(request, reply, deps, connections);
    reply.headers({ ...ofAll, ...corsHeaders(path, request.headers, deps.corsOrigins) });
    reply.header('x-request-id', request.id);
    if (connections.closing) {
      reply.header('connection', 'close');
      throw ApiError.draining();
    }
    if (request.method === 'OPTIONS' && isCrossOrigin(path)) return reply.code(204).send();
    // Before any body is read.
    if (isUnmatched(request)) throw unmatched(request.method, path);
    return undefined;
  });

  // Ends connections whose client stops reading a document. Streams have a deadline of their own.
  app.addHook('onSend', async (_request, reply) => {
    reply.raw.setTimeout(deps.limits.stallMs);
  });

  app.setErrorHandler((thrown, request, reply) => sendError(thrown, request, reply));
  app.setNotFoundHandler((request, reply) =>
    sendError(unmatched(request.method, pathOf(request.raw.url)), request, reply),
  );
}

/** Observes and logs a request at `close`, not at `finish`, which an aborted answer never reaches. */
function observeEnd(
  request: FastifyRequest,
  reply: FastifyReply,
  { metrics, log }: EdgeDeps,
  connections: Connections,
): void {
  const { socket } = request.raw;
  connections.begin(socket, reply.raw);
  const startedMs = performance.now();
  reply.raw.once('close', () => {
    connections.end(socket, reply.raw);
    // The route's pattern, since a URL's query string may hold anything, even a prompt.
    const route = routeOf(request);
    const method = request.is404 ? 'other' : request.method;
    const status = reply.raw.writableFinished ? String(reply.raw.statusCode) : 'broken-off';
    const ms = performance.now() - startedMs;
    metrics.requestSeconds.observe({ route, method, status }, ms / 1000);
    const apiKey = keyNameOf(request);
    const line = { requestId: request.id, route, method, status, ms: Math.round(ms) };
    log.info(apiKey === undefined ? line : { ...line, apiKey }, 'answered');
  });
}

/** Sends an error. Fastify's `frameworkErrors` skip all hooks, so the headers are set here. */
export function sendError(thrown: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const error = toApiError(thrown);
  const { body, headers } = shapedError(error, request);
  if (error.status === 500) request.log.error(describeFailure(thrown), 'request failed');
  reply
    .code(error.status)
    .headers({ ...SECURITY_HEADERS, ...error.headers, ...headers, 'cache-control': 'no-store' })
    .type('application/json; charset=utf-8')
    .send(JSON.stringify(body));
}

/** Answers bytes that are not an HTTP request, unless an earlier answer is still being written to the connection. */
function answerClientError(error: Error & { code?: string }, socket: Socket, connections: Connections): void {
  if (error.code === 'ECONNRESET' || !socket.writable || connections.isAnswering(socket)) {
    socket.destroy();
    return;
  }
  const refusal = malformed(error);
  const body = JSON.stringify(refusal.body);
  const status = { 400: 'Bad Request', 408: 'Request Timeout', 431: 'Request Header Fields Too Large' }[refusal.status];
  socket.end(
    `HTTP/1.1 ${refusal.status} ${status}\r\ncontent-type: application/json; charset=utf-8\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
    () => socket.destroy(),
  );
}

function malformed(error: Error & { code?: string }): ApiError {
  if (error instanceof HostHeaderError) return ApiError.invalid(null, error.message, 'invalid_http');
  switch (error.code) {
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new ApiError(408, 'The request did not arrive in time.', { code: 'request_timeout' });
    case 'HPE_HEADER_OVERFLOW':
      return new ApiError(431, 'The request headers are too large.', { code: 'headers_too_large' });
    default:
      return ApiError.invalid(null, 'This is not a valid HTTP request.', 'invalid_http');
  }
}

function isUnmatched(request: FastifyRequest): boolean {
  // The pages' wildcard also matches API paths that have no route of their own.
  return request.is404 || (request.routeOptions.url === '/*' && apiMethods(pathOf(request.raw.url)) !== undefined);
}

function unmatched(method: string, path: string): ApiError {
  const allow = apiMethods(path);
  return allow && !allow.includes(method) ? ApiError.wrongMethod(allow) : ApiError.unknownRoute(similarPath(path));
}

function routeOf(request: FastifyRequest): string {
  return request.is404 ? 'unmatched' : (request.routeOptions.url ?? 'unmatched');
}

function pathOf(url: string | undefined): string {
  return (url ?? '/').split('?', 1)[0] ?? '/';
}
