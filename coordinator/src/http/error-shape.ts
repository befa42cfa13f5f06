import type { FastifyRequest } from 'fastify';
import type { ApiError } from './errors.ts';
import { isMessagesPath, messagesError } from './messages/error.ts';

/** An error's body and headers in the shape of the API that the request's path belongs to. */
export function shapedError(
  error: ApiError,
  request: Pick<FastifyRequest, 'id' | 'raw'>,
): { body: object; headers: Record<string, string> } {
  const [path = ''] = (request.raw.url ?? '').split('?', 1);
  if (!isMessagesPath(path)) return { body: error.body, headers: {} };
  // Anthropic's clients read the id from this header.
  return { body: messagesError(error, request.id), headers: { 'request-id': request.id } };
}
