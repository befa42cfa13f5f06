import { createRequire } from 'node:module';
import { Duplex } from 'node:stream';
import type { Worker } from 'node:worker_threads';
import { startTypescriptThread } from '@shoal/weights/node';
import { DatabaseError } from './database-error.ts';
import type { FromThread, ThreadData, ToThread } from './embedded-messages.ts';

/** A database is made in about 2 s, and replays its log after a crash. */
const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 5_000;

/** The thread that runs PGlite. One that ends is started again when somebody connects. */
export class EmbeddedThread {
  readonly #dir: string | undefined;
  readonly #template: string | undefined;
  readonly #sockets = new Map<number, ThreadSocket>();
  #worker: Worker | undefined;
  #ready: Promise<void> | undefined;
  #connections = 0;
  #closed = false;

  /** @param dir in memory, from a template perhaps, if undefined */
  constructor(dir: string | undefined, template?: string) {
    this.#dir = dir;
    this.#template = template;
  }

  /** Starts the thread. Rejects with a DatabaseError. */
  start(): Promise<void> {
    if (this.#closed) return Promise.reject(new DatabaseError('unreachable', 'The embedded database is closed.'));
    this.#ready ??= this.#start().catch((error: unknown) => {
      this.#ready = undefined;
      throw error;
    });
    return this.#ready;
  }

  /** A new connection, as pg's clients take it for a socket. `isCut`: whether it is to be refused when it connects. */
  socket(isCut: () => boolean): ThreadSocket {
    const id = ++this.#connections;
    const socket = new ThreadSocket(this, id, isCut);
    this.#sockets.set(id, socket);
    return socket;
  }

  send(message: ToThread): void {
    this.#worker?.postMessage(message);
  }

  forget(id: number): void {
    if (this.#sockets.delete(id)) this.send({ kind: 'end', connection: id });
  }

  /** Ends the thread as a crash would. For tests. */
  async crash(): Promise<void> {
    await this.#worker?.terminate();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#ready?.catch(() => {});
    const worker = this.#worker;
    if (!worker) return;
    const stopped = new Promise<void>((resolve) => {
      worker.on('message', ({ kind }: FromThread) => kind === 'stopped' && resolve());
      worker.once('exit', () => resolve());
      setTimeout(resolve, STOP_TIMEOUT_MS).unref();
    });
    this.send({ kind: 'stop' });
    await stopped;
    await worker.terminate();
  }

  #start(): Promise<void> {
    const entry = createRequire(import.meta.url).resolve('@electric-sql/pglite');
    const data: ThreadData = { entry, dir: this.#dir, template: this.#template };
    const worker = startTypescriptThread(new URL('./embedded-thread.ts', import.meta.url), data);
    this.#worker = worker;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => fail('it does not start'), START_TIMEOUT_MS);
      const fail = (why: string): void => {
        clearTimeout(timer);
        reject(this.#startError(why));
        void worker.terminate();
      };
      worker.on('message', (message: FromThread) => {
        if (message.kind === 'failed') fail(message.why);
        if (message.kind === 'ready') {
          clearTimeout(timer);
          resolve();
        }
        if (message.kind === 'bytes') this.#sockets.get(message.connection)?.receive(message.bytes);
        if (message.kind === 'ended') this.#sockets.get(message.connection)?.destroy();
      });
      worker.on('error', (error) => fail(error.message));
      worker.on('exit', () => {
        fail('its thread has ended');
        this.#lost(worker);
      });
    });
  }

  #lost(worker: Worker): void {
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    this.#ready = undefined;
    for (const socket of this.#sockets.values())
      socket.destroy(new Error('The thread of the embedded database has ended'));
  }

  #startError(why: string): DatabaseError {
    const where = this.#dir ?? 'memory';
    const text = `The embedded database in ${where} cannot be opened (${why}). Restore a backup of the directory, choose another by --data DIR, or start with --database none.`;
    return new DatabaseError('damaged', text);
  }
}

/** What pg's clients need of a socket. */
export class ThreadSocket extends Duplex {
  readonly #thread: EmbeddedThread;
  readonly #id: number;
  readonly #isCut: () => boolean;

  constructor(thread: EmbeddedThread, id: number, isCut: () => boolean) {
    super();
    this.#thread = thread;
    this.#id = id;
    this.#isCut = isCut;
  }

  connect(): this {
    this.#thread.start().then(
      () => {
        if (this.destroyed) return;
        if (this.#isCut()) return void this.destroy(new Error('The line to the database is cut'));
        this.#thread.send({ kind: 'open', connection: this.#id });
        this.emit('connect');
      },
      (error: Error) => this.destroy(error),
    );
    return this;
  }

  receive(bytes: Uint8Array): void {
    this.push(bytes);
  }

  setNoDelay(): this {
    return this;
  }

  setKeepAlive(): this {
    return this;
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }

  override _read(): void {
    // The thread sends what it has: answers are bounded by their queries.
  }

  override _write(bytes: Uint8Array, _encoding: string, done: () => void): void {
    // A copy, since a view would be sent with all of the buffer behind it.
    this.#thread.send({ kind: 'bytes', connection: this.#id, bytes: new Uint8Array(bytes) });
    done();
  }

  override _final(done: () => void): void {
    this.#thread.forget(this.#id);
    this.push(null);
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#thread.forget(this.#id);
    done(error);
  }
}
