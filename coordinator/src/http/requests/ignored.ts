import type { z } from 'zod';
import { ApiError } from '../errors.ts';

/** Names of a body's parameters that are listed in a header; a client can send thousands. */
const MAX_LISTED = 16;
const MAX_NAME_CHARS = 64;

/**
 * The names of a body's parameters that its schema doesn't know, made fit for a header. Other servers ignore them too, and many
 * programs send some of their own. Throws an ApiError if `strict`.
 */
export function ignoredParameters(schema: z.ZodType, body: object, strict: boolean): string[] {
  const { shape } = (schema as z.ZodObject).def;
  const unknown: string[] = [];
  for (const name of Object.keys(body)) {
    if (Object.hasOwn(shape, name)) continue;
    const printable = name.slice(0, MAX_NAME_CHARS).replaceAll(/[^\w.-]/g, '?');
    if (strict) {
      const message = `Unrecognized request argument supplied: ${printable}`;
      throw ApiError.invalid(printable, message, 'unknown_parameter');
    }
    unknown.push(printable);
    if (unknown.length === MAX_LISTED) break;
  }
  return unknown;
}
