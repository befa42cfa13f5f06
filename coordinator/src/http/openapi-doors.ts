import { labRequestSchema } from '@shoal/protocol';
import { embeddingsRequestSchema, embeddingsSchema } from './embeddings.ts';
import { messageSchema, messagesErrorSchema, tokenCountSchema } from './messages/documents.ts';
import { countTokensRequestSchema, messagesRequestSchema } from './messages/schema.ts';
import {
  failure,
  generationFailures,
  get,
  json,
  jsonSchema,
  ok,
  pathParameter,
  ref,
  unauthorized,
} from './openapi-parts.ts';
import { deletedSchema, inputTokensSchema, itemListSchema, responseObjectSchema } from './responses/documents.ts';
import { inputTokensRequestSchema, responsesRequestSchema } from './responses/schema.ts';
import { detokenizedSchema, detokenizeRequestSchema, tokenizedSchema, tokenizeRequestSchema } from './tokenize.ts';

/** The endpoints beside OpenAI's older two, and their schemas. */

const OPENAI = 'OpenAI-compatible';
const ANTHROPIC = 'Anthropic-compatible';
const TOKENS = 'Tokens';

const messagesFailure = (description: string) => ({ description, content: json(ref('MessagesError')) });
const messagesFailures = {
  '400': messagesFailure('`invalid_request_error`: the message names the parameter.'),
  '401': messagesFailure('`authentication_error`.'),
  '404': messagesFailure('`not_found_error`: another model.'),
  '413': messagesFailure('`request_too_large`.'),
  '429': messagesFailure('`rate_limit_error`. `Retry-After` has the time to wait.'),
  '503': messagesFailure('`overloaded_error`: the coordinator is shutting down. `Retry-After` has the time to wait.'),
  '504': messagesFailure('`timeout_error`.'),
};

/** A body and what it is answered with. */
interface Described {
  tag: string;
  summary: string;
  request: string;
  response: string;
  examples: Record<string, object>;
  isStreamed?: boolean;
  failures?: object;
}

function post({ tag, summary, request, response, examples, isStreamed = false, failures }: Described) {
  const values = Object.fromEntries(Object.entries(examples).map(([name, value]) => [name, { value }]));
  return {
    post: {
      summary,
      tags: [tag],
      requestBody: { required: true, content: { 'application/json': { schema: ref(request), examples: values } } },
      responses: {
        '200': {
          description: isStreamed ? 'One document, or with `stream: true` server-sent events.' : 'One document.',
          content: {
            ...json(ref(response)),
            ...(isStreamed && { 'text/event-stream': { schema: { type: 'string' } } }),
          },
        },
        ...(failures ?? generationFailures),
      },
    },
  };
}

export function doorPaths(model: string) {
  return {
    ...embeddingsPaths(model),
    ...messagesPaths(model),
    ...responsesPaths(model),
    ...storedPaths(),
    ...tokenPaths(model),
    ...labPaths(),
  };
}

function embeddingsPaths(model: string) {
  return {
    '/v1/embeddings': post({
      tag: OPENAI,
      summary: 'Embed texts, where the model is an encoder',
      request: 'EmbeddingsRequest',
      response: 'Embeddings',
      examples: {
        query: { model, input: 'search_query: Who lost the grapes?' },
        documents: {
          model,
          input: ['search_document: A fox saw some grapes.', 'search_document: A hare ran.'],
          dimensions: 256,
        },
      },
    }),
  };
}

function messagesPaths(model: string) {
  const messages = [{ role: 'user', content: 'Once upon a time' }];
  const plain = { model, max_tokens: 64, messages };
  const tools = [
    {
      name: 'get_weather',
      description: 'The weather of a city',
      input_schema: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
    },
  ];
  return {
    '/v1/messages': post({
      tag: ANTHROPIC,
      summary: 'Answer a conversation, as Anthropic’s Messages API does',
      request: 'MessagesRequest',
      response: 'Message',
      examples: { plain, stream: { ...plain, stream: true }, tools: { ...plain, tools, tool_choice: { type: 'any' } } },
      isStreamed: true,
      failures: messagesFailures,
    }),
    '/v1/messages/count_tokens': post({
      tag: ANTHROPIC,
      summary: 'Count the tokens of a conversation',
      request: 'CountTokensRequest',
      response: 'TokenCount',
      examples: { plain: { model, messages } },
      failures: messagesFailures,
    }),
  };
}

function responsesPaths(model: string) {
  const plain = { model, input: 'Once upon a time', max_output_tokens: 64 };
  return {
    '/v1/responses': post({
      tag: OPENAI,
      summary: 'Answer a conversation, as OpenAI’s Responses API does',
      request: 'ResponsesRequest',
      response: 'Response',
      examples: {
        plain,
        stream: { ...plain, stream: true },
        goOn: { model, input: 'And then?', previous_response_id: 'resp_0123456789abcdef0123456789abcdef' },
      },
      isStreamed: true,
    }),
    '/v1/responses/input_tokens': post({
      tag: OPENAI,
      summary: 'Count the tokens of an input',
      request: 'InputTokensRequest',
      response: 'InputTokens',
      examples: { plain: { model, input: 'Once upon a time' } },
    }),
  };
}

function storedPaths() {
  const byId = pathParameter('response_id', { schema: { type: 'string' } });
  const gone = failure('`response_not_found`: it was not stored, no longer is, or somebody else’s.');
  const query = (name: string, schema: object) => ({ name, in: 'query', required: false, schema });
  return {
    '/v1/responses/{response_id}': {
      ...get(
        OPENAI,
        'Get a stored answer',
        { '200': ok('The answer.', ref('Response')), '401': unauthorized, '404': gone },
        byId,
      ),
      delete: {
        summary: 'Delete a stored answer',
        tags: [OPENAI],
        ...byId,
        responses: { '200': ok('It is deleted.', ref('DeletedResponse')), '401': unauthorized, '404': gone },
      },
    },
    '/v1/responses/{response_id}/input_items': get(
      OPENAI,
      'List the items that a stored answer was made from',
      { '200': ok('A page of them.', ref('ItemList')), '401': unauthorized, '404': gone },
      {
        parameters: [
          ...byId.parameters,
          query('limit', { type: 'integer', minimum: 1, maximum: 100, default: 20 }),
          query('order', { type: 'string', enum: ['asc', 'desc'], default: 'desc' }),
          query('after', { type: 'string', description: 'The page after the item with this id.' }),
        ],
      },
    ),
  };
}

function tokenPaths(model: string) {
  return {
    '/v1/tokenize': post({
      tag: TOKENS,
      summary: 'The tokens of a text or a conversation; also at /tokenize',
      request: 'TokenizeRequest',
      response: 'Tokenized',
      examples: {
        text: { model, prompt: 'Once upon a time', return_token_strs: true },
        conversation: { model, messages: [{ role: 'user', content: 'Once upon a time' }] },
      },
    }),
    '/v1/detokenize': post({
      tag: TOKENS,
      summary: 'The text of tokens; also at /detokenize',
      request: 'DetokenizeRequest',
      response: 'Detokenized',
      examples: { plain: { model, tokens: [1, 2, 3] } },
    }),
  };
}

function labPaths() {
  const text = 'Once upon a time';
  return {
    '/v1/gates': {
      ...get('Operation', 'The gates that a text can be looked at with in the lab, and their settings', {
        '200': ok('The gates, and facts of the model.'),
        '401': unauthorized,
      }),
      ...post({
        tag: 'Operation',
        summary: 'Run the model over a text with its gate, or another in its place: the choices, and figures of them',
        request: 'LabRequest',
        response: 'LabStudy',
        examples: {
          own: { text },
          expertChoice: { text, gate: 'expert-choice', settings: { capacityFactor: 2 }, tabs: 4 },
        },
      }),
    },
  };
}

export function doorSchemas() {
  return {
    EmbeddingsRequest: jsonSchema(embeddingsRequestSchema, 'input'),
    Embeddings: jsonSchema(embeddingsSchema, 'output'),
    LabRequest: jsonSchema(labRequestSchema, 'input'),
    LabStudy: {
      type: 'object',
      description: 'Tokens, layers with their choices and figures: docs/API.md has the fields.',
    },
    MessagesRequest: jsonSchema(messagesRequestSchema, 'input'),
    Message: jsonSchema(messageSchema, 'output'),
    CountTokensRequest: jsonSchema(countTokensRequestSchema, 'input'),
    TokenCount: jsonSchema(tokenCountSchema, 'output'),
    MessagesError: jsonSchema(messagesErrorSchema, 'output'),
    ResponsesRequest: jsonSchema(responsesRequestSchema, 'input'),
    Response: jsonSchema(responseObjectSchema, 'output'),
    InputTokensRequest: jsonSchema(inputTokensRequestSchema, 'input'),
    InputTokens: jsonSchema(inputTokensSchema, 'output'),
    ItemList: jsonSchema(itemListSchema, 'output'),
    DeletedResponse: jsonSchema(deletedSchema, 'output'),
    TokenizeRequest: jsonSchema(tokenizeRequestSchema, 'input'),
    Tokenized: jsonSchema(tokenizedSchema, 'output'),
    DetokenizeRequest: jsonSchema(detokenizeRequestSchema, 'input'),
    Detokenized: jsonSchema(detokenizedSchema, 'output'),
  };
}
