import type { IncomingMessage } from 'node:http';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { Counter, type Registry } from 'prom-client';
import { type AnswerHold, type ApiKeys, type KeyUse, RateLimitError } from '../access/api-keys.ts';
import { ApiError } from './errors.ts';
import type { ParsedRequest } from './parsed-request.ts';

/** Who may ask for answers, weights and metrics, and how much. Without one, everybody may. */
export interface HttpAccess {
  keys: ApiKeys;
  /** Takes a shard's bytes from the requester's allowance and returns 0, or the milliseconds until there is enough. */
  takeShardBytes(request: IncomingMessage, bytes: number): number;
  /** Why whoever sends this token may not read the metrics; undefined if they may. */
  refuseMetrics(request: IncomingMessage, token: string | undefined): string | undefined;
  /** The address that a request is counted by: an IPv4 address or an IPv6 network. */
  addressOf(request: IncomingMessage): string;
}

const uses = new WeakMap<FastifyRequest, KeyUse>();
const FREE: AnswerHold = { onToken: () => {}, release: () => {} };

/** The name of the key that a request was made with, for logs. */
export function keyNameOf(request: FastifyRequest): string | undefined {
  return uses.get(request)?.key.name;
}

/** Who shares the engine with others as one: whoever has the key, or where none are asked for, whoever has the address. */
export function clientOf(request: FastifyRequest, access: HttpAccess | undefined): string | undefined {
  const key = keyNameOf(request);
  if (key !== undefined) return `key ${key}`;
  return access && `address ${access.addressOf(request.raw)}`;
}

/** Asks for a key under /v1 if there are any, before a body is read; and for an admin's token at /metrics where that is wanted. */
export function registerApiAccess(app: FastifyInstance, access: HttpAccess, registry: Registry): void {
  registerKeyMetrics(access.keys, registry);
  app.addHook('onRequest', async (request, reply) => {
    const { method, headers } = request.raw;
    if (request.routeOptions.url === '/metrics') {
      const refusal = access.refuseMetrics(request.raw, bearerToken(headers.authorization));
      if (refusal !== undefined) throw ApiError.unauthorized(refusal);
    }
    // The route and not the URL, which spells the same path in many ways.
    if (!access.keys.required || !request.routeOptions.url?.startsWith('/v1/')) return;
    const use = authorize(access.keys, headers.authorization);
    uses.set(request, use);
    try {
      if (method === 'POST') limited(() => use.startRequest());
    } finally {
      reply.headers(use.headers());
    }
  });
}

/** A place for a request's answers; throws an ApiError where the key has none left. To be released when they are over. */
export function holdAnswers(
  request: FastifyRequest,
  parsed: ParsedRequest,
): { hold: AnswerHold; headers: Record<string, string> } {
  const use = uses.get(request);
  if (!use) return { hold: FREE, headers: {} };
  const promptTokens = parsed.prompts.reduce((sum, prompt) => sum + prompt.ids.length, 0);
  const hold = limited(() => use.startAnswers(parsed.prompts.length * parsed.n, promptTokens));
  return { hold, headers: use.headers() };
}

function bearerToken(header: string | undefined): string | undefined {
  return /^Bearer +(\S+) *$/i.exec(header ?? '')?.[1];
}

function authorize(keys: ApiKeys, header: string | undefined): KeyUse {
  const token = bearerToken(header);
  const use = keys.find(token);
  if (use) return use;
  const message =
    token === undefined
      ? 'This coordinator asks for an API key. Send it as Authorization: Bearer KEY; its operator hands them out.'
      : 'The API key is not, or no longer, known here. Ask the operator of this coordinator for one.';
  throw ApiError.unauthorized(message);
}

function limited<T>(work: () => T): T {
  try {
    return work();
  } catch (thrown) {
    if (thrown instanceof RateLimitError) throw ApiError.rateLimited(thrown.message, thrown.retryAfterS);
    throw thrown;
  }
}

/** Labelled by the keys' names, whose number the access file bounds; a key that is taken out of it leaves the metrics. */
function registerKeyMetrics(keys: ApiKeys, registry: Registry): void {
  const requests = new Counter({
    name: 'shoal_api_requests_total',
    help: 'Requests for answers that were let through or refused by a limit, by API key.',
    labelNames: ['key', 'outcome'] as const,
    registers: [registry],
    collect() {
      requests.reset();
      for (const use of keys.uses) {
        requests.inc({ key: use.key.name, outcome: 'accepted' }, use.requests);
        requests.inc({ key: use.key.name, outcome: 'limited' }, use.refusals);
      }
    },
  });
  const tokens = new Counter({
    name: 'shoal_api_tokens_total',
    help: 'Tokens of prompts and answers, by API key.',
    labelNames: ['key', 'kind'] as const,
    registers: [registry],
    collect() {
      tokens.reset();
      for (const use of keys.uses) {
        tokens.inc({ key: use.key.name, kind: 'prompt' }, use.promptTokens);
        tokens.inc({ key: use.key.name, kind: 'completion' }, use.completionTokens);
      }
    },
  });
}
