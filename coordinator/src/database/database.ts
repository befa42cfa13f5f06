import type { EventEmitter } from 'node:events';
import type { Kysely } from 'kysely';
import type { Pool } from 'pg';
import type { Tables } from './tables.ts';

/**
 * Where the database is. `memory` is an embedded one that nothing outlives. It is made from the file `template`, which is written
 * if it does not exist: that takes a fifth of the time.
 */
export type DatabasePlace =
  { kind: 'server'; url: string } | { kind: 'embedded'; dir: string } | { kind: 'memory'; template?: string };

export interface Database {
  readonly kind: 'embedded' | 'server';
  /** Where it is, for people: `HOST:PORT/NAME` or the directory. */
  readonly place: string;
  /** Typed queries. A query rejects while the database is away. */
  readonly db: Kysely<Tables>;
  /** The same connections for libraries that bring their own queries. */
  readonly pool: Pool;
  /**
   * Calls `onPayload` for each NOTIFY on the channel, from now until the returned call. Never rejects for a database that is away.
   * `onResumed` is called after a reconnect: notifications may have been missed, so what they tell of is to be read again.
   */
  listen(channel: string, onPayload: (payload: string) => void, onResumed?: () => void): Promise<() => Promise<void>>;
  /** Whether the last query did not reach it. */
  readonly isAway: boolean;
  readonly events: EventEmitter<DatabaseEvents>;
  /** Ends its connections, and an embedded database with its last user. Never rejects. */
  close(): Promise<void>;
}

export interface DatabaseEvents {
  away: [why: string];
  back: [awayMs: number];
}
