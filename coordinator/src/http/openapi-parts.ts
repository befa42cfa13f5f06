import { z } from 'zod';

type Tag = 'OpenAI-compatible' | 'Donors' | 'Operation';

export function jsonSchema(schema: z.ZodType, io: 'input' | 'output'): object {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: 'any' });
  return rest;
}

export const ref = (name: string) => ({ $ref: `#/components/schemas/${name}` });
export const json = (schema: object, example?: object) => ({
  'application/json': { schema, ...(example === undefined ? {} : { example }) },
});
export const failure = (description: string) => ({ description, content: json(ref('Error')) });

export const unauthorized = failure(
  '`invalid_api_key`: the coordinator requires an API key, and none or an unknown one was sent.',
);

export const generationFailures = {
  '400': failure('Invalid JSON, an invalid or unsupported parameter (named in `param`), or `context_length_exceeded`.'),
  '401': unauthorized,
  '404': failure('`model_not_found`.'),
  '413': failure('The body is too large.'),
  '415': failure('The body is not application/json.'),
  '429': failure('The queue is full, or the API key is over its limit. `Retry-After` has the time to wait.'),
  '503': failure('The coordinator is shutting down. `Retry-After` has the time to wait.'),
  '504': failure('The answer took too long.'),
};

export function generation(
  summary: string,
  names: { request: string; response: string; chunk: string },
  examples: object,
) {
  return {
    post: {
      summary,
      tags: ['OpenAI-compatible'],
      requestBody: {
        required: true,
        content: { 'application/json': { schema: ref(names.request), examples } },
      },
      responses: {
        '200': {
          description: 'One document, or with `stream: true` server-sent events that end with `data: [DONE]`.',
          content: { ...json(ref(names.response)), 'text/event-stream': { schema: ref(names.chunk) } },
        },
        ...generationFailures,
      },
    },
  };
}

export function get(tag: Tag, summary: string, responses: object, more: object = {}) {
  return { get: { summary, tags: [tag], ...more, responses } };
}

export const ok = (description: string, schema: object = { type: 'object' }, example?: object) => ({
  description,
  content: json(schema, example),
});

export const pathParameter = (name: string, more: object) => ({
  parameters: [{ name, in: 'path', required: true, ...more }],
});
