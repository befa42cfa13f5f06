import { join } from 'node:path';
import type { Database, DatabasePlace } from './database.ts';
import { lockDirectory } from './directory-lock.ts';
import { EmbeddedThread } from './embedded.ts';
import { PgDatabase } from './pg-database.ts';
import { openServer } from './server.ts';

/** Of each user of an embedded database, whose one session takes them in turn anyway. */
const EMBEDDED_CONNECTIONS = 2;

/** Opens a database; `migrate` makes its tables. Rejects with a DatabaseError. */
export async function openDatabase(where: DatabasePlace): Promise<Database> {
  if (where.kind === 'server') return openServer(where.url);
  const lock = where.kind === 'embedded' ? await lockDirectory(where.dir) : undefined;
  const dir = where.kind === 'embedded' ? where.dir : undefined;
  const thread = new EmbeddedThread(dir && join(dir, 'postgres'), where.kind === 'memory' ? where.template : undefined);
  const shared = new SharedThread(thread, dir ?? 'memory', async () => {
    await thread.close();
    await lock?.release();
  });
  try {
    await thread.start();
  } catch (error) {
    await shared.end();
    throw error;
  }
  return shared.open();
}

/** A user of a shared embedded database that can be kept from it, as a coordinator that a network cuts off. */
export interface SharedDatabase extends Database {
  /** Ends all its connections, and lets it make no new ones. */
  cut(): void;
  heal(): void;
}

/**
 * Lets several coordinators of one process use one embedded database: each call opens one more connection to its thread, with
 * pool, LISTEN and `isAway` of its own. The thread ends when all, the given one included, are closed.
 */
export function shareDatabase(database: Database): () => SharedDatabase {
  const shared = SHARED.get(database);
  if (!shared) throw new TypeError('Only an embedded database can be shared within a process');
  return () => shared.open();
}

const SHARED = new WeakMap<Database, SharedThread>();

class SharedThread {
  readonly #thread: EmbeddedThread;
  readonly #place: string;
  readonly #onLastClosed: () => Promise<void>;
  #users = 0;
  #ended: Promise<void> | undefined;

  constructor(thread: EmbeddedThread, place: string, onLastClosed: () => Promise<void>) {
    this.#thread = thread;
    this.#place = place;
    this.#onLastClosed = onLastClosed;
  }

  crash(): Promise<void> {
    return this.#thread.crash();
  }

  open(): SharedDatabase {
    this.#users++;
    const line = new Line(this.#thread);
    const database = new PgDatabase({
      kind: 'embedded',
      place: this.#place,
      connection: { stream: () => line.socket() },
      maxConnections: EMBEDDED_CONNECTIONS,
      onClosed: async () => {
        if (--this.#users === 0) await this.end();
      },
    });
    SHARED.set(database, this);
    return Object.assign(database, { cut: () => line.cut(), heal: () => line.heal() });
  }

  end(): Promise<void> {
    return (this.#ended ??= this.#onLastClosed());
  }
}

/** One user's way to the thread. */
class Line {
  readonly #thread: EmbeddedThread;
  readonly #sockets = new Set<ReturnType<EmbeddedThread['socket']>>();
  #isCut = false;

  constructor(thread: EmbeddedThread) {
    this.#thread = thread;
  }

  socket() {
    const socket = this.#thread.socket(() => this.#isCut);
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    return socket;
  }

  cut(): void {
    this.#isCut = true;
    for (const socket of this.#sockets) socket.destroy(new Error('The line to the database is cut'));
  }

  heal(): void {
    this.#isCut = false;
  }
}

/** Ends the thread of an embedded database as a crash would; it starts again when it is needed. For tests. */
export function crashThread(database: Database): Promise<void> {
  return SHARED.get(database)!.crash();
}
