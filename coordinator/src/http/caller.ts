import type { FastifyRequest } from 'fastify';
import type { TextClient } from '../text/text-thread.ts';
import { cacheScopeOf, clientOf, keyNameOf } from './api-access.ts';
import type { HttpDeps } from './deps.ts';

/** Who sends a request. */
export interface Caller {
  requestId: string;
  /** Whose share of what is bounded the request uses. */
  client: string | undefined;
  /** Who may see what is kept of the request: whoever has the same scope (`cacheScopeOf`). */
  scope: string | undefined;
}

export function callerOf(request: FastifyRequest, { access }: Pick<HttpDeps, 'access'>): Caller {
  return { requestId: request.id, client: clientOf(request, access), scope: cacheScopeOf(request, access) };
}

/** The client as the queues of texts tell clients apart. */
export function textClientOf(request: FastifyRequest, { access }: Pick<HttpDeps, 'access'>): TextClient {
  const address = keyNameOf(request) === undefined ? access?.addressOf(request.raw) : undefined;
  return { client: clientOf(request, access), address };
}
