export type DatabaseErrorReason =
  'unreachable' | 'refused' | 'no-database' | 'no-rights' | 'newer' | 'in-use' | 'unwritable' | 'damaged' | 'migration';

/** The database cannot be used. The message says why and what to do; it holds no password. */
export class DatabaseError extends Error {
  readonly reason: DatabaseErrorReason;
  constructor(reason: DatabaseErrorReason, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'DatabaseError';
    this.reason = reason;
  }
}
