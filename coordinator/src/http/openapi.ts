import { donorInfoSchema } from '@shoal/protocol';
import { adminPaths, adminSchemas } from './openapi-admin.ts';
import { LOAD_ADAPTER_URL, loadAdapterSchema, UNLOAD_ADAPTER_URL, unloadAdapterSchema } from './lora.ts';
import { doorPaths, doorSchemas } from './openapi-doors.ts';
import { failure, generation, get, jsonSchema, ok, pathParameter, ref, unauthorized } from './openapi-parts.ts';
import { chatRequestSchema } from './requests/chat-schema.ts';
import { completionRequestSchema } from './requests/completion-schema.ts';
import { MAX_N, MAX_STOPS } from './requests/sampling-schema.ts';
import {
  chatChunkSchema,
  chatCompletionSchema,
  completionSchema,
  errorSchema,
  modelListSchema,
  modelSchema,
} from './response-schema.ts';

export interface OpenApiInfo {
  version: string;
  modelId: string;
  maxContext: number;
  bodyBytes: number;
}

function apiPaths(modelId: string) {
  const model = { id: modelId, object: 'model', created: 1760000000, owned_by: 'shoal' };
  const messages = [{ role: 'user', content: 'Once upon a time' }];
  return {
    '/v1/models': get('OpenAI-compatible', 'List the served model', {
      '200': ok('A list with one model.', ref('ModelList'), { object: 'list', data: [model] }),
      '401': unauthorized,
    }),
    '/v1/models/{model}': get(
      'OpenAI-compatible',
      'Get the served model',
      { '200': ok('The model.', ref('Model'), model), '401': unauthorized, '404': failure('`model_not_found`.') },
      pathParameter('model', { schema: { type: 'string' }, example: modelId }),
    ),
    '/v1/completions': generation(
      `Continue a text, a batch of texts, or token ids (up to ${MAX_N} choices each, up to ${MAX_STOPS} stop strings)`,
      { request: 'CompletionRequest', response: 'Completion', chunk: 'Completion' },
      {
        plain: { value: { model: modelId, prompt: 'Once upon a time', max_tokens: 64, seed: 1 } },
        stream: { value: { model: modelId, prompt: 'Once upon a time', max_tokens: 64, stream: true } },
        score: { value: { model: modelId, prompt: 'Once upon a time', max_tokens: 0, echo: true, logprobs: 1 } },
        trace: { value: { model: modelId, prompt: 'Once upon a time', max_tokens: 4, shoal: { trace: true } } },
      },
    ),
    '/v1/chat/completions': generation(
      'Answer a conversation, with the model’s chat template',
      { request: 'ChatRequest', response: 'ChatCompletion', chunk: 'ChatCompletionChunk' },
      {
        plain: { value: { model: modelId, messages, max_completion_tokens: 64, seed: 1 } },
        stream: { value: { model: modelId, messages, stream: true, stream_options: { include_usage: true } } },
        logprobs: { value: { model: modelId, messages, max_completion_tokens: 4, logprobs: true, top_logprobs: 3 } },
      },
    ),
  };
}

/** Loading and unloading of adapters. */
function adapterPaths() {
  const adapterPath = (summary: string, request: string, failures: object) => ({
    post: {
      summary,
      description: 'Needs an operator’s token of the console as `Authorization: Bearer …`.',
      security: [{ admin: [] }],
      tags: ['Operation'],
      requestBody: { required: true, content: { 'application/json': { schema: ref(request) } } },
      responses: {
        '200': { description: 'A sentence.', content: { 'text/plain': { schema: { type: 'string' } } } },
        '401': failure('No valid token of an admin was sent.'),
        '403': failure('The token is a viewer’s, or nothing may be loaded.'),
        ...failures,
      },
    },
  });
  return {
    [LOAD_ADAPTER_URL]: adapterPath('Load a LoRA adapter from a folder of --adapter-dir', 'LoadAdapterRequest', {
      '400': failure('The adapter cannot be used, or its name; the message says why.'),
      '503': failure('Many adapters are being loaded.'),
    }),
    [UNLOAD_ADAPTER_URL]: adapterPath('Unload an adapter; its answers go on', 'UnloadAdapterRequest', {
      '404': failure('`adapter_not_found`.'),
    }),
  };
}

function otherPaths() {
  return {
    '/shards/{sha256}': get(
      'Donors',
      'The packed weights of one expert, named by their SHA-256',
      {
        '200': {
          description: 'The bytes. They never change, so caches may keep them for ever.',
          content: { 'application/octet-stream': { schema: { type: 'string', format: 'binary' } } },
        },
        '304': { description: 'The client already has these bytes (If-None-Match).' },
        '404': failure('No shard of the served model has this hash.'),
        '429': failure('The client’s address has used its allowance of bytes. `Retry-After` has the time to wait.'),
      },
      pathParameter('sha256', { schema: { type: 'string', pattern: '^[0-9a-f]{64}$' } }),
    ),
    '/donor-info': get('Donors', 'What a donor should know before lending: the model, its operator, what is needed', {
      '200': ok('Figures of a few seconds ago.', jsonSchema(donorInfoSchema, 'output')),
    }),
    '/swarm.json': get(
      'Donors',
      'What everybody may know of the swarm: what is served, by how many tabs, thanks to whom; or of one team',
      {
        '200': ok('As of some seconds ago. With `team`, that team and its members who want to be seen.'),
        '404': failure('There is no such team.'),
        '503': failure('The coordinator’s database does not answer.'),
      },
      {
        name: 'team',
        in: 'query',
        required: false,
        description: 'The number of a team.',
        schema: { type: 'integer' },
      },
    ),
    '/swarm/pictures/{name}.svg': get(
      'Donors',
      'A picture of what a donor did, by the name that the donor was given for it',
      {
        '200': { description: 'The picture.', content: { 'image/svg+xml': { schema: { type: 'string' } } } },
        '404': failure('There is no such picture.'),
      },
      pathParameter('name', { schema: { type: 'string' } }),
    ),
    '/healthz': get('Operation', 'Is the process up?', { '200': ok('Yes.') }),
    '/readyz': get('Operation', 'Can it answer? The body counts tabs and uncovered experts.', {
      '200': ok('Yes.'),
      '503': ok('No.'),
    }),
    '/health': get('Operation', 'Can it answer? The same as /readyz, without details, as other servers have it.', {
      '200': ok('Yes.'),
      '503': ok('No.'),
    }),
    '/ping': get('Operation', 'The same as /health, for platforms that ask for this name', {
      '200': ok('Yes.'),
      '503': ok('No.'),
    }),
    '/version': get('Operation', 'The version of Shoal', { '200': ok('`{"version": …}`') }),
    '/metrics': get(
      'Operation',
      'Prometheus metrics',
      {
        '200': { description: 'All metrics.', content: { 'text/plain': { schema: { type: 'string' } } } },
        '401': failure('No valid admin token was sent.'),
      },
      {
        description:
          'If there are admins besides the first (and metrics are not `"open"`), this requires a viewer’s or operator’s token as `Authorization: Bearer …`.',
        security: [{}, { admin: [] }],
      },
    ),
    '/openapi.json': get('Operation', 'This document', { '200': ok('OpenAPI 3.1.') }),
  };
}

/** Keys are asked for under /v1 alone: other operations are open, unless they say themselves what they need. */
function locked(paths: Record<string, object>): Record<string, object> {
  const open = (item: object) =>
    Object.fromEntries(
      Object.entries(item).map(([name, part]: [string, object]) => [
        name,
        name === 'parameters' || 'security' in part ? part : { ...part, security: [] },
      ]),
    );
  return Object.fromEntries(
    Object.entries(paths).map(([path, item]) => [path, path.startsWith('/v1/') ? item : open(item)]),
  );
}

/** The OpenAPI 3.1 document. Its schemas are those that requests are validated with. */
export function openApiDocument({ version, modelId, maxContext, bodyBytes }: OpenApiInfo) {
  return {
    openapi: '3.1.0',
    info: {
      title: 'Shoal coordinator',
      version,
      description:
        `Serves \`${modelId}\` with a context of ${maxContext} tokens. Request bodies may have up to ${bodyBytes} bytes. ` +
        'Parameters that are not described here are ignored, and named in the header x-shoal-ignored-parameters.',
    },
    // Relative, so that the page calls the coordinator that served it.
    servers: [{ url: '/' }],
    paths: locked({ ...apiPaths(modelId), ...doorPaths(modelId), ...adapterPaths(), ...adminPaths(), ...otherPaths() }),
    // The empty entry is for a coordinator without keys.
    security: [{}, { apiKey: [] }],
    components: {
      securitySchemes: {
        apiKey: { type: 'http', scheme: 'bearer' },
        admin: { type: 'http', scheme: 'bearer', description: 'A token of the console.' },
      },
      schemas: {
        CompletionRequest: jsonSchema(completionRequestSchema, 'input'),
        Completion: jsonSchema(completionSchema, 'output'),
        ChatRequest: jsonSchema(chatRequestSchema, 'input'),
        ChatCompletion: jsonSchema(chatCompletionSchema, 'output'),
        ChatCompletionChunk: jsonSchema(chatChunkSchema, 'output'),
        LoadAdapterRequest: jsonSchema(loadAdapterSchema, 'input'),
        UnloadAdapterRequest: jsonSchema(unloadAdapterSchema, 'input'),
        Model: jsonSchema(modelSchema, 'output'),
        ModelList: jsonSchema(modelListSchema, 'output'),
        ...doorSchemas(),
        ...adminSchemas(),
        Error: jsonSchema(errorSchema, 'output'),
      },
    },
  };
}
