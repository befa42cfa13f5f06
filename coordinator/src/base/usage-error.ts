/** A command line, an environment variable or a setting that cannot be used as given. The message names it and the remedy. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}
