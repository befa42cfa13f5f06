import type { FastifyInstance } from 'fastify';
import type { z } from 'zod';
import { ApiError } from './errors.ts';

/** JSON as UTF-8 and nothing else. Keys that could reach a prototype are refused, here and nowhere later. */
export function registerJsonBody(app: FastifyInstance): void {
  const parseText = app.getDefaultJsonParser('error', 'error');
  const decoder = new TextDecoder('utf-8', { fatal: true });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    let text: string;
    try {
      text = decoder.decode(body as Buffer);
    } catch {
      done(ApiError.invalid(null, 'The request body is not valid UTF-8.', 'invalid_utf8'));
      return;
    }
    if (text.trim() === '') {
      done(ApiError.invalid(null, 'The request body is empty; send a JSON object.', 'invalid_json'));
      return;
    }
    // Parsers quote what they could not read, so their messages go no further.
    parseText(request, text, (error, value) => {
      if (error) done(ApiError.invalid(null, 'The request body is not valid JSON.', 'invalid_json'));
      else done(null, value);
    });
  });
}

/** The one place where a body becomes typed. */
export function parseBody<T>(schema: z.ZodType<T>, body: unknown): T {
  const result = schema.safeParse(body);
  if (!result.success) throw ApiError.fromZod(result.error);
  return result.data;
}
