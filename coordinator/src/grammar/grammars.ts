import { createHash } from 'node:crypto';
import type { Worker } from 'node:worker_threads';
import { startTypescriptThread } from '@shoal/weights/node';
import { ClientQueue, type Origin, originOf, type QueueBounds } from '../base/client-queue.ts';
import type { TokenConstraint } from '../scheduler/token-constraint.ts';
import { GrammarError } from './grammar-error.ts';
import type { GrammarSource } from './grammar-source.ts';
import { sourceBytes } from './source-size.ts';
import { ThreadLine } from './thread-line.ts';
import type { GrammarThreadData } from './thread-messages.ts';

/** A source that was compiled. */
export interface Grammar {
  /** The constraint of one answer. It is to be closed, whatever becomes of the answer. */
  open(options?: OpenOptions): TokenConstraint;
}

/** Whose source it is, and until when somebody waits for it. */
export interface GrammarClient {
  client?: string | undefined;
  /** Present if clients are told apart by it. */
  address?: string | undefined;
  signal?: AbortSignal | undefined;
}

export interface OpenOptions {
  /**
   * Everything but the answer's end is allowed until this text has come, which may be spelled as a special token, and then
   * white space; the grammar begins with what follows.
   */
  after?: string | undefined;
  /** What stands of the answer already. If the grammar has no such beginning, asking for masks fails with that reason. */
  begun?: string | undefined;
}

export interface GrammarsOptions extends GrammarThreadData {
  /** From asking the thread, or its last answer, until it counts as hung: far above what its bounded work and its start take. */
  timeoutMs?: number;
  /** Compiled grammars that are kept. */
  maxGrammars?: number;
  maxSessions?: number;
  /** Of the sources that wait to be compiled. */
  bounds?: QueueBounds;
  /** Starts a thread; for tests. */
  start?: (data: GrammarThreadData) => Worker;
}

/** A compiled grammar takes at most about 30 MB, and usually 1 MB. */
const MAX_GRAMMARS = 64;
/** Of all that are kept, of about 100 bytes each. */
const MAX_INSTRUCTIONS = 1_000_000;
const MAX_SESSIONS = 4_096;
/** By default a client may have 112 requests at once, each with a schema of its own. */
const BOUNDS: QueueBounds = { maxItems: 256, maxOfShare: 128 };
const TIMEOUT_MS = 30_000;
/** Of a source as JSON; a body may have 1 MiB. */
const MAX_SOURCE_BYTES = 262_144;

interface Kept {
  id: number;
  /** Undefined while it waits to be compiled. */
  line: ThreadLine | undefined;
  compiled: Promise<unknown>;
  /** Present while it waits for its turn. */
  queued: { remove(): void; settle: Settle } | undefined;
  /** Requests that wait until it is compiled. */
  waiters: number;
  /** Undefined until it is compiled. */
  instructions: number | undefined;
  /** Open answers. */
  users: number;
}

/** The ends of a promise. */
interface Settle {
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/** A source that waits to be compiled, for everybody who asked for it meanwhile. */
interface Waiting {
  source: GrammarSource;
  kept: Kept;
  settle: Settle;
}

/**
 * Compiles sources into grammars, and says for the answers that follow them which tokens may come next, in a thread. A thread
 * that dies fails the answers it served; the next source gets a new one.
 */
export class Grammars {
  readonly #options: GrammarsOptions;
  #line: ThreadLine | undefined;
  /** By the digest of the source; what was used last comes last. */
  readonly #kept = new Map<string, Kept>();
  #nextId = 0;
  #sessions = 0;
  /** Clients take turns, since a hostile source may take the thread a few hundred milliseconds. */
  readonly #waiting: ClientQueue<Waiting>;
  #compiling: Waiting | undefined;
  #closed = false;

  constructor(options: GrammarsOptions) {
    this.#options = options;
    this.#waiting = new ClientQueue(options.bounds ?? BOUNDS);
  }

  /** Grammars that are kept, and answers that have one. */
  get figures(): { grammars: number; sessions: number } {
    return { grammars: this.#kept.size, sessions: this.#sessions };
  }

  /** Rejects with a GrammarError, or with the signal's reason. */
  async compile(source: GrammarSource, { signal, ...client }: GrammarClient = {}): Promise<Grammar> {
    signal?.throwIfAborted();
    if (sourceBytes(source, MAX_SOURCE_BYTES) > MAX_SOURCE_BYTES)
      throw new GrammarError('too-large', `it is larger than ${MAX_SOURCE_BYTES / 1024} KiB; make it smaller`);
    const key = createHash('sha256').update(JSON.stringify(source)).digest('base64');
    const kept = this.#keep(key, () => this.#enqueue(key, source, originOf(client)));
    kept.waiters++;
    try {
      await orAborted(kept.compiled, signal);
    } finally {
      if (--kept.waiters === 0) this.#giveUp(kept);
    }
    return { open: (options) => this.#open(key, source, options) };
  }

  /** Fails what is open, and resolves when the thread has ended. */
  async close(): Promise<void> {
    this.#closed = true;
    const closed = new GrammarError('failed', 'the coordinator is shutting down');
    for (let one = this.#waiting.take(); one; one = this.#waiting.take()) one.settle.reject(closed);
    await this.#line?.end(closed);
  }

  /** The grammar of a source, which `compile` makes if there is none. */
  #keep(key: string, compile: () => Kept): Kept {
    const known = this.#kept.get(key);
    this.#kept.delete(key);
    const kept = known ?? compile();
    this.#kept.set(key, kept);
    this.#shrink(kept);
    return kept;
  }

  /** Drops those that were not used for longest, until the others are few enough. */
  #shrink(except: Kept): void {
    const { maxGrammars = MAX_GRAMMARS } = this.#options;
    let instructions = 0;
    for (const kept of this.#kept.values()) instructions += kept.instructions ?? 0;
    for (const [key, kept] of this.#kept) {
      if (this.#kept.size <= maxGrammars && instructions <= MAX_INSTRUCTIONS) break;
      if (kept.users > 0 || kept.instructions === undefined || kept === except) continue;
      this.#kept.delete(key);
      instructions -= kept.instructions;
      kept.line?.tell({ kind: 'drop', grammar: kept.id });
    }
  }

  /** Has a source compiled when it is its client's turn. */
  #enqueue(key: string, source: GrammarSource, origin: Origin): Kept {
    if (this.#closed) throw new GrammarError('failed', 'the coordinator is shutting down');
    const { promise, settle } = deferred();
    const kept = this.#newKept(key, promise);
    const waiting = { source, settle, kept };
    kept.queued = { remove: () => this.#waiting.remove(origin, waiting), settle };
    const full = this.#waiting.add(origin, waiting);
    if (full && 'refused' in full) throw waitingFull();
    full?.displaced.settle.reject(waitingFull());
    this.#next();
    return kept;
  }

  #next(): void {
    const next = this.#compiling ? undefined : this.#waiting.take();
    if (!next) return;
    next.kept.queued = undefined;
    this.#compiling = next;
    this.#compile(next.kept, next.source)
      .then(next.settle.resolve, next.settle.reject)
      .finally(() => {
        this.#compiling = undefined;
        this.#next();
      });
  }

  /** Nobody waits any more for what has not had its turn. */
  #giveUp({ queued }: Kept): void {
    queued?.remove();
    queued?.settle.reject(new GrammarError('failed', 'nobody waits for this grammar'));
  }

  /** Compiles at once what waits for its turn: the source is known to be harmless, and an answer begins. */
  #promote(kept: Kept, source: GrammarSource): void {
    const { queued } = kept;
    if (!queued) return;
    queued.remove();
    kept.queued = undefined;
    this.#compile(kept, source).then(queued.settle.resolve, queued.settle.reject);
  }

  async #compile(kept: Kept, source: GrammarSource): Promise<unknown> {
    kept.line = this.#thread();
    return kept.line.ask({ kind: 'compile', grammar: kept.id, source });
  }

  #newKept(key: string, compiled: Promise<unknown>): Kept {
    const kept: Kept = {
      id: this.#nextId++,
      line: undefined,
      compiled,
      queued: undefined,
      waiters: 0,
      instructions: undefined,
      users: 0,
    };
    compiled.then(
      (instructions) => {
        kept.instructions = instructions as number;
        this.#shrink(kept);
      },
      () => {
        if (this.#kept.get(key) === kept) this.#kept.delete(key);
      },
    );
    return kept;
  }

  /** Without its turn: the source is known to be harmless. */
  #recompile(key: string, source: GrammarSource): Kept {
    const { promise, settle } = deferred();
    const kept = this.#newKept(key, promise);
    this.#compile(kept, source).then(settle.resolve, settle.reject);
    return kept;
  }

  #open(key: string, source: GrammarSource, { after = '', begun = '' }: OpenOptions = {}): TokenConstraint {
    if (this.#sessions >= (this.#options.maxSessions ?? MAX_SESSIONS))
      throw new GrammarError('full', 'too many answers have a grammar; try again in a moment');
    // Compiled again if it was dropped meanwhile, or its thread has ended.
    const kept = this.#keep(key, () => this.#recompile(key, source));
    this.#promote(kept, source);
    const { id } = kept;
    const line = kept.line!;
    const session = this.#nextId++;
    this.#sessions++;
    kept.users++;
    line.tell({ kind: 'open', session, grammar: id, after, begun });
    let isOpen = true;
    return {
      accept: (token) => line.tell({ kind: 'accept', session, token }),
      allowedDrafts: async (drafts) => (await line.ask({ kind: 'drafts', session, drafts })) as number,
      masks: async (drafts) => (await line.ask({ kind: 'masks', session, drafts })) as (Uint32Array | undefined)[],
      close: () => {
        if (!isOpen) return;
        isOpen = false;
        this.#sessions--;
        kept.users--;
        line.tell({ kind: 'close', session });
      },
    };
  }

  #thread(): ThreadLine {
    if (this.#closed) throw new GrammarError('failed', 'the coordinator is shutting down');
    if (this.#line) return this.#line;
    const { vocabulary, start = startThread, timeoutMs = TIMEOUT_MS } = this.#options;
    const line = new ThreadLine(start({ vocabulary }), timeoutMs, () => {
      this.#kept.clear();
      if (this.#line === line) this.#line = undefined;
    });
    this.#line = line;
    return line;
  }
}

function startThread(data: GrammarThreadData): Worker {
  return startTypescriptThread(new URL('./grammar-thread.ts', import.meta.url), data);
}

function deferred(): { promise: Promise<unknown>; settle: Settle } {
  let settle!: Settle;
  const promise = new Promise<unknown>((resolve, reject) => (settle = { resolve, reject }));
  return { promise, settle };
}

const waitingFull = (): GrammarError =>
  new GrammarError('full', 'too many grammars wait to be compiled; try again in a moment');

async function orAborted(work: Promise<unknown>, signal: AbortSignal | undefined): Promise<void> {
  if (!signal) {
    await work;
    return;
  }
  let onAbort = (): void => {};
  const aborted = new Promise<never>((_, reject) => {
    onAbort = (): void => reject(signal.reason as Error);
    signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
