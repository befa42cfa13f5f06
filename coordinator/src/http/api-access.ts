import { createHash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { Counter, type Registry } from 'prom-client';
import type { AccessPolicy, ApiKey } from '../access/policy.ts';
import { type AnswerHold, type ApiKeys, type KeyUse, RateLimitError } from '../access/api-keys.ts';
import type { HttpAccess } from './deps.ts';
import { ApiError } from './errors.ts';
import { LOAD_ADAPTER_URL, UNLOAD_ADAPTER_URL } from './lora.ts';

const uses = new WeakMap<FastifyRequest, KeyUse>();
const KEY_SCOPE = 'key ';
const FREE: AnswerHold = { onToken: () => {}, release: () => {} };

/** The name of the API key that a request was made with, for logs. */
export function keyNameOf(request: FastifyRequest): string | undefined {
  return uses.get(request)?.key.name;
}

/** The client whose share of the scheduler a request uses: its API key, or its address where no keys are required. */
export function clientOf(request: FastifyRequest, access: HttpAccess | undefined): string | undefined {
  const key = keyNameOf(request);
  if (key !== undefined) return `key ${key}`;
  return access && `address ${access.addressOf(request.raw)}`;
}

/**
 * Whose earlier prompts a request may start from, and from whose earlier answers its tokens may be drafted: those of its API key,
 * or of its address where no keys are required. How soon its tokens come reveals whether it did, and so whether something similar
 * was asked in that scope before. The scope is the key's digest, since the access file may give its name to another client later.
 *
 * Without keys, each web page is by itself too, or any site could find out what its visitor has asked: a page cannot send another
 * Origin than its own, nor a POST without one. Our own pages are no exception, since a name that leads here may be a stranger's.
 */
export function cacheScopeOf(request: FastifyRequest, access: HttpAccess | undefined): string | undefined {
  const key = uses.get(request)?.key;
  if (key) return scopeOfKey(key);
  const client = clientOf(request, access);
  const { origin } = request.headers;
  if (origin === undefined) return client;
  // Its digest, since a client may send a long one.
  return `${client ?? 'anyone'} page ${createHash('sha256').update(origin).digest('hex')}`;
}

/** Whether requests of a scope may still come under a policy: its key is there, or no keys are required. */
export function isScopeIn({ apiKeys }: Pick<AccessPolicy, 'apiKeys'>): (scope: string) => boolean {
  if (!apiKeys) return (scope) => !scope.startsWith(KEY_SCOPE);
  const scopes = new Set(apiKeys.map(scopeOfKey));
  return (scope) => scopes.has(scope);
}

function scopeOfKey({ digest }: ApiKey): string {
  return KEY_SCOPE + digest.toString('hex');
}

/** Checks API keys under /v1 and admin tokens at /metrics, where they are required, before a body is read. */
export function registerApiAccess(app: FastifyInstance, access: HttpAccess, registry: Registry): void {
  registerKeyMetrics(access.keys, registry);
  app.addHook('onRequest', async (request, reply) => {
    const { method, headers } = request.raw;
    if (request.routeOptions.url === '/metrics') {
      const refusal = access.refuseMetrics(request.raw, bearerToken(headers.authorization));
      if (refusal !== undefined) throw ApiError.unauthorized(refusal);
    }
    // Not by URL, which can spell the same path in many ways.
    // These are for operators, whose tokens are no API keys; lora.ts asks for them.
    if (request.routeOptions.url === LOAD_ADAPTER_URL || request.routeOptions.url === UNLOAD_ADAPTER_URL) return;
    if (!access.keys.required || !request.routeOptions.url?.startsWith('/v1/')) return;
    const use = authorize(access.keys, apiKeyOf(headers));
    uses.set(request, use);
    try {
      if (method === 'POST') limited(() => use.startRequest());
    } finally {
      reply.headers(use.headers());
    }
  });
}

/** Takes a place for a request's answers, to be released when they end. Throws an ApiError where the key has none left. */
export function holdAnswers(
  request: FastifyRequest,
  access: HttpAccess | undefined,
  { answers, promptTokens, model }: { answers: number; promptTokens: number; model?: string | undefined },
): { hold: AnswerHold; headers: Record<string, string> } {
  const use = uses.get(request) ?? access?.keys.anyone;
  if (!use) return { hold: FREE, headers: {} };
  const hold = limited(() => use.startAnswers(answers, promptTokens, model));
  return { hold, headers: use.headers() };
}

export function bearerToken(header: string | undefined): string | undefined {
  return /^Bearer +(\S+) *$/i.exec(header ?? '')?.[1];
}

/** The first that is sent, as OpenAI's clients, Anthropic's and Azure's do. It alone counts, so a wrong one is not hidden by another. */
function apiKeyOf(headers: IncomingHttpHeaders): string | undefined {
  const named = [headers['x-api-key'], headers['api-key']].find((value) => typeof value === 'string' && value !== '');
  return bearerToken(headers.authorization) ?? (named as string | undefined)?.trim();
}

function authorize(keys: ApiKeys, token: string | undefined): KeyUse {
  const use = keys.find(token);
  if (use) return use;
  const message =
    token === undefined
      ? 'This coordinator requires an API key. Send it as Authorization: Bearer KEY (or as x-api-key, or api-key). The operator gives them out.'
      : 'This API key is unknown or was revoked. Ask the operator of this coordinator for one.';
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

/** Registers counters labelled by key name. The access file bounds their number, and a removed key leaves the metrics. */
function registerKeyMetrics(keys: ApiKeys, registry: Registry): void {
  const register = (
    name: string,
    help: string,
    label: string,
    counts: (use: KeyUse) => Record<string, number>,
  ): void => {
    const counter = new Counter({
      name,
      help,
      labelNames: ['key', label],
      registers: [registry],
      collect() {
        counter.reset();
        for (const use of keys.uses) {
          for (const [value, count] of Object.entries(counts(use)))
            counter.inc({ key: use.key.name, [label]: value }, count);
        }
      },
    });
  };
  register(
    'shoal_api_requests_total',
    'Requests for answers that were accepted or refused by a limit, by API key.',
    'outcome',
    ({ requests, refusals }) => ({ accepted: requests, limited: refusals }),
  );
  register(
    'shoal_api_tokens_total',
    'Tokens of prompts and answers, by API key.',
    'kind',
    ({ promptTokens, completionTokens }) => ({ prompt: promptTokens, completion: completionTokens }),
  );
}
