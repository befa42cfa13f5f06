import type { FastifyInstance, FastifyRequest } from 'fastify';
import { callerOf } from '../caller.ts';
import type { HttpDeps } from '../deps.ts';
import { ApiError } from '../errors.ts';
import type { Found, ResponseStore, StoredItem } from './store.ts';

/** OpenAI's numbers. */
const DEFAULT_PAGE = 20;
const MAX_PAGE = 100;
const EXPIRE_EVERY_MS = 60_000;

interface ById {
  Params: { id: string };
}

/** Reads and deletes stored answers. One of somebody else is refused as an unknown one is. */
export function registerStoredResponses(
  app: FastifyInstance,
  store: ResponseStore,
  deps: Pick<HttpDeps, 'access'>,
): void {
  const expiry = setInterval(() => store.expire(), EXPIRE_EVERY_MS).unref();
  app.addHook('onClose', (_app, done) => {
    clearInterval(expiry);
    done();
  });
  const found = (request: FastifyRequest<ById>): Found => {
    const one = store.find(request.params.id, callerOf(request, deps).scope);
    if (!one) throw unknownResponse();
    return one;
  };
  app.get<ById>('/v1/responses/:id', (request) => {
    if ((request.query as { stream?: unknown }).stream === 'true') {
      throw ApiError.invalid('stream', "Invalid 'stream': a stored answer is not streamed again. Leave it out.");
    }
    return found(request).response;
  });
  app.get<ById>('/v1/responses/:id/input_items', (request) =>
    page(found(request).input, request.query as Record<string, unknown>),
  );
  app.post<ById>('/v1/responses/:id/cancel', (request) => {
    found(request);
    throw ApiError.invalid(
      'response_id',
      'Only an answer that runs in the background can be cancelled; end the stream.',
    );
  });
  app.delete<ById>('/v1/responses/:id', (request) => {
    const { id } = request.params;
    if (!store.delete(id, callerOf(request, deps).scope)) throw unknownResponse();
    return { id, object: 'response', deleted: true };
  });
}

function unknownResponse(): ApiError {
  const message = 'Response not found: it was not stored, or no longer is.';
  return new ApiError(404, message, { param: 'response_id', code: 'response_not_found' });
}

/** The latest first, unless `order` is "asc"; from behind the item `after`. */
function page(items: readonly StoredItem[], { limit, order, after }: Record<string, unknown>): object {
  const most = limit === undefined ? DEFAULT_PAGE : Number(limit);
  if (!Number.isInteger(most) || most < 1 || most > MAX_PAGE) {
    throw ApiError.invalid('limit', `Invalid 'limit': expected an integer from 1 to ${MAX_PAGE}.`);
  }
  if (order !== undefined && order !== 'asc' && order !== 'desc') {
    throw ApiError.invalid('order', 'Invalid \'order\': expected "asc" or "desc".');
  }
  const ordered = order === 'asc' ? items : [...items].reverse();
  const start = after === undefined ? 0 : ordered.findIndex(({ id }) => id === after) + 1;
  if (after !== undefined && start === 0) throw ApiError.invalid('after', "Invalid 'after': there is no such item.");
  const data = ordered.slice(start, start + most);
  return {
    object: 'list',
    data,
    first_id: data[0]?.id ?? null,
    last_id: data.at(-1)?.id ?? null,
    has_more: start + data.length < ordered.length,
  };
}
