import { createHash } from 'node:crypto';
import type { Worker } from 'node:worker_threads';
import { startTypescriptThread } from '@shoal/weights/node';
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
  signal?: AbortSignal | undefined;
}

export interface OpenOptions {
  /**
   * Everything but the answer's end is allowed until this text has come, which may be spelled as a special token, and then
   * white space; the grammar begins with what follows.
   */
  after?: string | undefined;
}

export interface GrammarsOptions extends GrammarThreadData {
  /** From asking the thread, or its last answer, until it counts as hung: far above what its bounded work and its start take. */
  timeoutMs?: number;
  /** Compiled grammars that are kept. */
  maxGrammars?: number;
  maxSessions?: number;
  /** Sources that wait to be compiled. */
  maxWaiting?: number;
  /** Starts a thread; for tests. */
  start?: (data: GrammarThreadData) => Worker;
}

/** A compiled grammar takes at most about 30 MB, and usually 1 MB. */
const MAX_GRAMMARS = 64;
/** Of all that are kept, of about 100 bytes each. */
const MAX_INSTRUCTIONS = 1_000_000;
const MAX_SESSIONS = 4_096;
const MAX_WAITING = 256;
const MAX_OF_CLIENT = 16;
const TIMEOUT_MS = 30_000;
/** Of a source as JSON; a body may have 1 MiB. */
const MAX_SOURCE_BYTES = 262_144;

interface Kept {
  id: number;
  line: ThreadLine;
  compiled: Promise<unknown>;
  /** Undefined until it is compiled. */
  instructions: number | undefined;
  /** Open answers. */
  users: number;
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
  #compiling = 0;
  /** Sources that wait, by client. */
  readonly #waiting = new Map<string, number>();
  #closed = false;

  constructor(options: GrammarsOptions) {
    this.#options = options;
  }

  /** Grammars that are kept, and answers that have one. */
  get figures(): { grammars: number; sessions: number } {
    return { grammars: this.#kept.size, sessions: this.#sessions };
  }

  /** Rejects with a GrammarError, or with the signal's reason. */
  async compile(source: GrammarSource, { client = '', signal }: GrammarClient = {}): Promise<Grammar> {
    signal?.throwIfAborted();
    if (sourceBytes(source, MAX_SOURCE_BYTES) > MAX_SOURCE_BYTES)
      throw new GrammarError('too-large', `it is larger than ${MAX_SOURCE_BYTES / 1024} KiB; make it smaller`);
    const key = createHash('sha256').update(JSON.stringify(source)).digest('base64');
    const waiting = this.#waiting.get(client) ?? 0;
    if (this.#compiling >= (this.#options.maxWaiting ?? MAX_WAITING) || waiting >= MAX_OF_CLIENT)
      throw new GrammarError('full', 'too many grammars wait to be compiled; try again in a moment');
    this.#waiting.set(client, waiting + 1);
    try {
      await orAborted(this.#keep(key, source).compiled, signal);
    } finally {
      const left = this.#waiting.get(client)! - 1;
      if (left > 0) this.#waiting.set(client, left);
      else this.#waiting.delete(client);
    }
    return { open: (options) => this.#open(key, source, options) };
  }

  /** Fails what is open, and resolves when the thread has ended. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#line?.end(new GrammarError('failed', 'the coordinator is shutting down'));
  }

  /** The source's grammar in the present thread, which compiles it if it has not yet. */
  #keep(key: string, source: GrammarSource): Kept {
    const known = this.#kept.get(key);
    this.#kept.delete(key);
    const kept = known ?? this.#compile(key, source);
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
      kept.line.tell({ kind: 'drop', grammar: kept.id });
    }
  }

  #compile(key: string, source: GrammarSource): Kept {
    const line = this.#thread();
    const id = this.#nextId++;
    this.#compiling++;
    const compiled = line.ask({ kind: 'compile', grammar: id, source });
    const kept: Kept = { id, line, compiled, instructions: undefined, users: 0 };
    compiled.then(
      (instructions) => {
        this.#compiling--;
        kept.instructions = instructions as number;
        this.#shrink(kept);
      },
      () => {
        this.#compiling--;
        if (this.#kept.get(key) === kept) this.#kept.delete(key);
      },
    );
    return kept;
  }

  #open(key: string, source: GrammarSource, { after = '' }: OpenOptions = {}): TokenConstraint {
    if (this.#sessions >= (this.#options.maxSessions ?? MAX_SESSIONS))
      throw new GrammarError('full', 'too many answers have a grammar; try again in a moment');
    // Compiled again if it was dropped meanwhile, or its thread has ended.
    const kept = this.#keep(key, source);
    const { id, line } = kept;
    const session = this.#nextId++;
    this.#sessions++;
    kept.users++;
    line.tell({ kind: 'open', session, grammar: id, after });
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
