import { list } from '@shoal/protocol';
import { z } from 'zod';

/** Opaque labels such as a model's id or a message's name. */
export const MAX_LABEL_CHARS = 512;

/**
 * A parameter that other servers have and that changes no answer here, whatever its value: hints about speed, storage and billing,
 * and switches of features that only their servers have.
 */
export const ignored = z.unknown().optional().meta({ description: 'Accepted; does not change the answer.' });

/** A parameter of which only some values can be honoured; the others are refused with the remedy. */
export function only(isHonoured: (value: unknown) => boolean, remedy: string) {
  return z
    .unknown()
    .refine((value) => value === undefined || value === null || isHonoured(value), {
      error: `this is not supported; ${remedy}.`,
    })
    .optional()
    .meta({ description: `Not supported: ${remedy}.` });
}

/** A JSON object of which nothing more is known, such as a JSON Schema. Its size is bounded by the body's. */
export const plainObject = z
  .unknown()
  .refine(isPlainObject, { error: 'expected an object' })
  .meta({ type: 'object' }) as z.ZodType<Record<string, unknown>>;

export function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Any integer, also those that JavaScript rounds: seeds of 64 bits. */
export const anyInteger = z.number().refine(Number.isInteger, { error: 'expected an integer' });

/** The message for a body that is missing or not an object. Other issues keep their own messages. */
export function bodyError(issue: { code?: string | undefined }): string | undefined {
  return issue.code === 'invalid_type' ? 'The request body must be a JSON object.' : undefined;
}

export { list, z };
