import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { z } from 'zod';
import type { AnswerHold } from '../access/api-keys.ts';
import { holdAnswers } from './api-access.ts';
import { parseBody } from './body.ts';
import { type Caller, callerOf, textClientOf } from './caller.ts';
import type { HttpDeps } from './deps.ts';
import type { Endpoint, PlainEndpoint, Read } from './endpoint.ts';
import { ApiError } from './errors.ts';
import { embeddings, refuseEncoder } from './embeddings.ts';
import { answer, type GenerateDeps, withinScope } from './generate.ts';
import { countTokens, messages } from './messages/messages.ts';
import { chatRequestSchema } from './requests/chat-schema.ts';
import { completionRequestSchema } from './requests/completion-schema.ts';
import { ignoredTools } from './requests/chat-tools.ts';
import { ignoredParameters } from './requests/ignored.ts';
import { parseChat } from './requests/parse-chat.ts';
import { parseCompletion } from './requests/parse-completion.ts';
import type { ParsedRequest, ParseDeps } from './requests/parsed-request.ts';
import { countInput, responses } from './responses/responses.ts';
import { ResponseStore } from './responses/store.ts';
import { registerStoredResponses } from './responses/stored.ts';
import type { RequestScope } from './scope.ts';
import { chatShape } from './shapes/chat-shape.ts';
import { completionShape } from './shapes/completion-shape.ts';
import type { AnswerShape } from './shapes/shape.ts';
import { labStudy, registerLabFacts } from './lab.ts';
import { detokenize, tokenize } from './tokenize.ts';

export type EndpointDeps = GenerateDeps & ParseDeps & Pick<HttpDeps, 'strictParameters' | 'lab' | 'credit'>;

const completions: Endpoint<z.infer<typeof completionRequestSchema>> = {
  url: '/v1/completions',
  schema: completionRequestSchema,
  read: (body) => ({ parse: (deps, client) => parseCompletion(body, deps, client), shape: completionShape }),
};

const chat: Endpoint<z.infer<typeof chatRequestSchema>> = {
  url: '/v1/chat/completions',
  schema: chatRequestSchema,
  read: (body) => ({
    parse: (deps, client) => parseChat(body, deps, client),
    shape: chatShape,
    ignored: ignoredTools(body),
  }),
};

export function registerEndpoints(app: FastifyInstance, deps: EndpointDeps): void {
  registerEndpoint(app, completions, deps);
  registerEndpoint(app, chat, deps);
  registerPlainEndpoint(app, embeddings, deps);
  registerEndpoint(app, messages, deps);
  registerPlainEndpoint(app, countTokens, deps);
  const store = new ResponseStore();
  registerEndpoint(app, responses(store, deps.generation.maxContext), deps);
  registerPlainEndpoint(app, countInput(store), deps);
  registerStoredResponses(app, store, deps);
  registerPlainEndpoint(app, tokenize, deps);
  registerPlainEndpoint(app, detokenize, deps);
  if (!deps.lab) return;
  registerLabFacts(app, deps.lab);
  registerPlainEndpoint(app, labStudy(deps.lab), deps);
}

function registerEndpoint<Body>(app: FastifyInstance, endpoint: Endpoint<Body>, deps: EndpointDeps): void {
  app.post(endpoint.url, async (request, reply) => {
    refuseEncoder(deps);
    const caller = callerOf(request, deps);
    const asked = readRequest(endpoint, caller, request, reply, deps);
    await withinScope(request, reply, deps, async (scope) => {
      const parsed = await asked.parse(deps, { ...textClientOf(request, deps), signal: scope.signal });
      const credit = await creditOf(request, deps);
      const sharing = { client: credit?.client ?? caller.client, cacheScope: caller.scope, credit };
      const shared = { ...parsed, generation: { ...parsed.generation, ...sharing } };
      await answerWithinLimits(shared, asked.shape, scope, request, reply, deps);
    });
  });
}

const CREDIT_HEADER = 'x-shoal-credit';

/** A request is answered in its turn as well where its credit can't be found. */
async function creditOf({ headers }: FastifyRequest, { credit }: EndpointDeps) {
  const token = headers[CREDIT_HEADER];
  if (typeof token !== 'string') return undefined;
  return credit?.(token).catch(() => undefined);
}

function registerPlainEndpoint<Body>(app: FastifyInstance, endpoint: PlainEndpoint<Body>, deps: EndpointDeps): void {
  app.post(endpoint.url, async (request, reply) => {
    const asked = readRequest(endpoint, callerOf(request, deps), request, reply, deps);
    await withinScope(request, reply, deps, async ({ signal }) => {
      const client = { ...textClientOf(request, deps), signal };
      const held: AnswerHold[] = [];
      const hold = (promptTokens: number): void => {
        const taken = holdAnswers(request, deps.access, { answers: 1, promptTokens });
        held.push(taken.hold);
        reply.headers(taken.headers);
      };
      try {
        const answered = await asked.answer(deps, client, { requestId: request.id, signal, hold });
        if ('json' in answered) await reply.type('application/json; charset=utf-8').send(answered.json);
        else await reply.send(answered);
      } finally {
        for (const one of held) one.release();
      }
    });
  });
}

/** Reads a request, and tells what of it has no effect, or refuses that. */
function readRequest<Body, What extends Read>(
  { schema, read }: { schema: z.ZodType<Body>; read(body: Body, caller: Caller): What },
  caller: Caller,
  request: FastifyRequest,
  reply: FastifyReply,
  deps: EndpointDeps,
): What {
  const strict = deps.strictParameters ?? false;
  const body = parseBody(schema, request.body);
  const unknown = ignoredParameters(schema, request.body as object, strict);
  const asked = read(body, caller);
  const unsupported = asked.ignored ?? [];
  if (strict) refuseUnsupported(unsupported);
  noteIgnored([...unknown, ...unsupported], request, reply);
  return asked;
}

function refuseUnsupported([first]: readonly string[]): void {
  if (first !== undefined) throw ApiError.invalid(first, `'${first}' is not supported. Leave it out.`);
}

/** Answers within what the API key may have at a time. */
async function answerWithinLimits(
  parsed: ParsedRequest,
  shape: AnswerShape,
  scope: RequestScope,
  request: FastifyRequest,
  reply: FastifyReply,
  deps: EndpointDeps,
): Promise<void> {
  const promptTokens = parsed.prompts.reduce((sum, prompt) => sum + prompt.ids.length, 0);
  const answers = parsed.prompts.length * parsed.bestOf;
  const model = parsed.generation.adapter?.name;
  const { hold, headers } = holdAnswers(request, deps.access, { answers, promptTokens, model });
  reply.headers(headers);
  if (parsed.route) noteRoute(parsed.route, deps, reply);
  try {
    await answer(parsed, shape, scope, request, reply, deps, hold.onToken);
  } finally {
    hold.release();
  }
}

/** Tells the client what `model: "auto"` has chosen. A name is escaped where a header can't have it. */
function noteRoute(
  { adapter, similarity }: NonNullable<ParsedRequest['route']>,
  { generation }: EndpointDeps,
  reply: FastifyReply,
): void {
  reply.header('x-shoal-model', encodeURI(adapter?.name ?? generation.modelId));
  if (similarity !== null) reply.header('x-shoal-similarity', similarity.toFixed(3));
}

/** Tells the client in a header, and the operator in the log, which parameters had no effect. */
function noteIgnored(names: readonly string[], request: FastifyRequest, reply: FastifyReply): void {
  if (names.length === 0) return;
  reply.header('x-shoal-ignored-parameters', names.join(', '));
  request.log.info({ requestId: request.id, ignored: names }, 'ignored parameters');
}
