import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { z } from 'zod';
import type { TextClient } from '../text/text-thread.ts';
import { cacheScopeOf, clientOf, holdAnswers, keyNameOf } from './api-access.ts';
import { parseBody } from './body.ts';
import type { HttpDeps } from './deps.ts';
import { answer, type GenerateDeps, withinScope } from './generate.ts';
import { chatRequestSchema } from './requests/chat-schema.ts';
import { completionRequestSchema } from './requests/completion-schema.ts';
import { ignoredParameters } from './requests/ignored.ts';
import { parseChat } from './requests/parse-chat.ts';
import { parseCompletion } from './requests/parse-completion.ts';
import type { ParsedRequest, ParseDeps } from './requests/parsed-request.ts';
import type { RequestScope } from './scope.ts';
import { chatShape } from './shapes/chat-shape.ts';
import { completionShape } from './shapes/completion-shape.ts';
import type { AnswerShape } from './shapes/shape.ts';

export type EndpointDeps = GenerateDeps & ParseDeps & Pick<HttpDeps, 'strictParameters'>;

/** An endpoint that answers with generated text. */
export interface Endpoint<Body> {
  url: string;
  schema: z.ZodType<Body>;
  /** Rejects with an ApiError that names the parameter, or with the reason of the client's signal. */
  parse(body: Body, deps: ParseDeps, client: TextClient): Promise<ParsedRequest>;
  /** How the endpoint writes its answer to this body. */
  shape(body: Body): AnswerShape;
}

const completions: Endpoint<z.infer<typeof completionRequestSchema>> = {
  url: '/v1/completions',
  schema: completionRequestSchema,
  parse: parseCompletion,
  shape: () => completionShape,
};

const chat: Endpoint<z.infer<typeof chatRequestSchema>> = {
  url: '/v1/chat/completions',
  schema: chatRequestSchema,
  parse: parseChat,
  shape: () => chatShape,
};

export function registerEndpoints(app: FastifyInstance, deps: EndpointDeps): void {
  registerEndpoint(app, completions, deps);
  registerEndpoint(app, chat, deps);
}

function registerEndpoint<Body>(app: FastifyInstance, endpoint: Endpoint<Body>, deps: EndpointDeps): void {
  app.post(endpoint.url, async (request, reply) => {
    const body = parseBody(endpoint.schema, request.body);
    noteIgnored(ignoredParameters(endpoint.schema, body as object, deps.strictParameters ?? false), request, reply);
    const client = clientOf(request, deps.access);
    const address = keyNameOf(request) === undefined ? deps.access?.addressOf(request.raw) : undefined;
    await withinScope(request, reply, deps, async (scope) => {
      const parsed = await endpoint.parse(body, deps, { client, address, signal: scope.signal });
      const sharing = { client, cacheScope: cacheScopeOf(request, deps.access) };
      const shared = { ...parsed, generation: { ...parsed.generation, ...sharing } };
      await answerWithinLimits(shared, endpoint.shape(body), scope, request, reply, deps);
    });
  });
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
  const { hold, headers } = holdAnswers(request, parsed);
  reply.headers(headers);
  try {
    await answer(parsed, shape, scope, request, reply, deps, hold.onToken);
  } finally {
    hold.release();
  }
}

/** Tells the client in a header, and the operator in the log, which parameters had no effect. */
function noteIgnored(names: readonly string[], request: FastifyRequest, reply: FastifyReply): void {
  if (names.length === 0) return;
  reply.header('x-shoal-ignored-parameters', names.join(', '));
  request.log.info({ requestId: request.id, ignored: names }, 'ignored unknown parameters');
}
