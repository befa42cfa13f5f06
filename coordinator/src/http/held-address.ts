import { randomUUID } from 'node:crypto';
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { once } from 'node:events';
import type { PortRange } from '../base/option-values.ts';
import { VERSION } from '../base/version.ts';
import { ApiError } from './errors.ts';
import { SECURITY_HEADERS } from './headers.ts';
import { isMessagesPath, messagesError } from './messages/error.ts';

/** Orchestrators and proxies that ask for health. */
const MAX_CONNECTIONS = 1024;
/** Each connection is for one request, which has no body that is read. */
const MAX_CONNECTION_MS = 10_000;
/** Large models load for minutes, small ones for a second. */
const RETRY_AFTER_S = 5;

/** What a coordinator does before it serves. */
export interface StartProgress {
  /** e.g. `packing experts` */
  doing: string;
  doneBytes?: number;
  totalBytes?: number;
}

/** An address that is taken before the model is packed and loaded. */
export interface HeldAddress {
  port: number;
  /** For the server that takes over: see `HttpDeps.heldAddress`. */
  listener: Server;
  /** Ends the answers given until now. New connections are the next server's, which has to listen already. */
  handOver(): void;
  /** Gives the address back; not to be called after `handOver`. */
  close(): Promise<void>;
}

/**
 * Listens at once, at the first free port of a range, so that a taken port is found before anything is packed or loaded. Until the HTTP server takes over, `/healthz`
 * answers 200, and `/readyz` 503 with the progress; everything else gets 503 with a Retry-After.
 */
export async function holdAddress(
  host: string,
  port: number | PortRange,
  progress: () => StartProgress,
  maxConnectionMs = MAX_CONNECTION_MS,
): Promise<HeldAddress> {
  const http = createHttpServer((request, response) => answer(request, response, progress));
  http.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => answer(request, response, progress));
  const listener = createServer((socket) => {
    // An HTTP server that does not listen itself has no timeouts.
    const timeout = setTimeout(() => socket.destroy(), maxConnectionMs);
    socket.once('close', () => clearTimeout(timeout));
    http.emit('connection', socket);
  });
  listener.maxConnections = MAX_CONNECTIONS;
  await listen(listener, host, typeof port === 'number' ? { first: port, last: port } : port);
  return {
    port: (listener.address() as AddressInfo).port,
    listener,
    handOver: () => http.closeAllConnections(),
    close: async () => {
      const closed = once(listener, 'close');
      listener.close();
      http.closeAllConnections();
      await closed;
    },
  };
}

async function listen(listener: Server, host: string, { first, last }: PortRange): Promise<void> {
  for (let port = first; ; port++) {
    try {
      const listening = once(listener, 'listening');
      listener.listen(port, host);
      return void (await listening);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'EADDRINUSE' || first === last) throw error;
      if (port === last) throw Object.assign(new Error(`All ports of ${first}-${last} are in use`), { code });
    }
  }
}

function answer({ method, url = '/' }: IncomingMessage, response: ServerResponse, progress: () => StartProgress): void {
  const [path = '/'] = url.split('?', 1);
  const [status, body] = answerTo(path, progress);
  response.writeHead(status, {
    ...SECURITY_HEADERS,
    'content-type': 'application/json; charset=utf-8',
    'cache-control': 'no-store',
    // The next request is to reach the server that takes over.
    connection: 'close',
    ...(status === 503 && { 'retry-after': String(RETRY_AFTER_S) }),
  });
  response.end(method === 'HEAD' ? undefined : JSON.stringify(body));
}

function answerTo(path: string, progress: () => StartProgress): [status: number, body: object] {
  if (path === '/healthz') return [200, { status: 'starting', version: VERSION }];
  if (path === '/readyz') return [503, { ready: false, reason: 'starting', ...progress() }];
  const error = ApiError.starting();
  return [503, isMessagesPath(path) ? messagesError(error, randomUUID()) : error.body];
}
