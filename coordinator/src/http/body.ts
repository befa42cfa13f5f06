import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { z } from 'zod';
import { decompressed } from './compressed-body.ts';
import { ApiError } from './errors.ts';
import { noteExactTexts } from './exact-json.ts';

/**
 * What makes JSON slow to parse, counted before that. Numbers and strings are cheap: 1 MiB takes 10 ms. Objects and keys are
 * not: 1 MiB of either takes 60 to 220 ms, and of nested brackets 0.4 s.
 */
const LIMITS: readonly (readonly [name: keyof Shape, most: number, what: string])[] = [
  // A JSON Schema takes two levels for each of its objects', and OpenAI allows ten of those.
  ['depth', 64, 'levels of nesting'],
  // Thousands of messages with one part each; 128 Ki tokens of context are 48 for each of 2,730.
  ['containers', 8_192, 'objects and arrays'],
  ['keys', 16_384, 'keys'],
  // Twice the token ids that fill such a context.
  ['commas', 262_144, 'values'],
];

/**
 * Accepts only JSON as UTF-8, compressed or not, of at most `maxBytes` either way. Keys that could reach a prototype are refused
 * here and need no check later.
 */
export function registerJsonBody(app: FastifyInstance, maxBytes: number): void {
  const parseText = app.getDefaultJsonParser('error', 'error');
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, async (request: FastifyRequest, body: Buffer) => {
    const text = textOf(await decompressed(body, request.headers['content-encoding'], maxBytes));
    return new Promise((resolve, reject) => {
      void parseText(request, text, (error, value) => {
        // The parser's messages quote the body, so they are not passed on.
        if (error) reject(ApiError.invalid(null, 'The request body is not valid JSON.', 'invalid_json'));
        else {
          noteExactTexts(text, value);
          resolve(value);
        }
      });
    });
  });
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** Throws an ApiError for what would be no JSON, or slow to parse. */
function textOf(body: Buffer): string {
  let text: string;
  try {
    text = utf8.decode(body);
  } catch {
    throw ApiError.invalid(null, 'The request body is not valid UTF-8.', 'invalid_utf8');
  }
  if (text.trim() === '') {
    throw ApiError.invalid(null, 'The request body is empty; send a JSON object.', 'invalid_json');
  }
  const fault = shapeFault(body);
  if (fault) throw ApiError.invalid(null, `The request body has ${fault}.`, 'invalid_json');
  return text;
}

/** Why JSON would be slow to parse; undefined if it would not. */
export function shapeFault(json: Buffer): string | undefined {
  const shape = shapeOf(json);
  const exceeded = LIMITS.find(([name, most]) => shape[name] > most);
  return exceeded && `more than ${exceeded[1]} ${exceeded[2]}`;
}

/** The parameters that the schema knows, and no others. Throws an ApiError that names the parameter. */
export function parseBody<T>(schema: z.ZodType<T>, body: unknown): T {
  const result = schema.safeParse(body);
  if (!result.success) throw ApiError.fromZod(result.error, body);
  return result.data;
}

interface Shape {
  /** The most levels. */
  depth: number;
  containers: number;
  keys: number;
  commas: number;
}

/** Counts what stands outside strings. Invalid JSON is left to the parser. */
function shapeOf(json: Buffer): Shape {
  const shape: Shape = { depth: 0, containers: 0, keys: 0, commas: 0 };
  let depth = 0;
  let inString = false;
  for (let at = 0; at < json.length; at++) {
    const byte = json[at];
    if (inString) {
      if (byte === BACKSLASH) at++;
      else if (byte === QUOTE) inString = false;
    } else if (byte === QUOTE) inString = true;
    else if (byte === COMMA) shape.commas++;
    else if (byte === COLON) shape.keys++;
    else if (byte === OPEN_ARRAY || byte === OPEN_OBJECT) {
      shape.containers++;
      if (++depth > shape.depth) shape.depth = depth;
    } else if (byte === CLOSE_ARRAY || byte === CLOSE_OBJECT) depth--;
  }
  return shape;
}

const [QUOTE, BACKSLASH, COMMA, COLON, OPEN_ARRAY, CLOSE_ARRAY, OPEN_OBJECT, CLOSE_OBJECT] = Buffer.from('"\\,:[]{}');
