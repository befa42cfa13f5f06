export type { Database, DatabaseEvents, DatabasePlace } from './database.ts';
export { DatabaseError, type DatabaseErrorReason } from './database-error.ts';
export { migrate, pendingMigrations } from './migrate.ts';
export { openDatabase, shareDatabase, type SharedDatabase } from './open.ts';
export type { HistoryBucket, HistorySum, Tables } from './tables.ts';
export { type Book, type CounterBook, type Transaction, WriteQueue, type WriteQueueOptions } from './write-queue.ts';
