import type { z } from 'zod';
import { ModelError } from '../errors.ts';
import type { Quantisation } from '../quantised/quantisation.ts';

export const QUANTISATION_KEY = 'quantization_config';

/** What reads the keys of one method of quantisation. `where` names the file in errors. */
export type QuantisationReader = (value: Record<string, unknown>, where: string) => Quantisation;

export function unsupported(where: string, detail: string): ModelError {
  return new ModelError('unsupported', QUANTISATION_KEY, `${where}: ${QUANTISATION_KEY} ${detail}`);
}

/** Throws a ModelError that names the key within `quantization_config`. */
export function parseKeys<S extends z.ZodType>(schema: S, value: unknown, where: string, below = ''): z.infer<S> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  const path = [QUANTISATION_KEY, ...(below ? [below] : []), ...issue.path].join('.');
  const reason = issue.code === 'unrecognized_keys' || issue.code === 'invalid_value' ? 'unsupported' : 'bad-value';
  throw new ModelError(reason, QUANTISATION_KEY, `${where}: ${path}: ${issue.message}`);
}
