import { GenerationError } from '../scheduler/generation.ts';
import { ApiError } from './errors.ts';

/**
 * A thrown value for the log, without any text that a client may have sent. Messages of JSON parsers and other libraries
 * quote their input, so only messages written in this repository for logs (GenerationError, ApiError) are kept; of others
 * the class and the stack's frames, which name code alone.
 */
export function describeFailure(thrown: unknown): Record<string, unknown> {
  if (!(thrown instanceof Error)) return { errorName: typeof thrown };
  const frames = (thrown.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line));
  return {
    errorName: thrown.name,
    ...(thrown instanceof GenerationError ? { reason: thrown.reason, errorMessage: thrown.message } : {}),
    ...(thrown instanceof ApiError ? { code: thrown.code, errorMessage: thrown.message } : {}),
    frames,
    ...(thrown.cause === undefined ? {} : { cause: describeFailure(thrown.cause) }),
  };
}
