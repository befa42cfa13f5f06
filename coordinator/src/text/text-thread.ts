import type { Worker } from 'node:worker_threads';
import { startTypescriptThread } from '@shoal/weights/node';
import { ClientQueue, originOf, type QueueBounds } from '../base/client-queue.ts';
import type { EncodeOutcome, EncodeTask } from './encode-task.ts';
import type { EncodeReply, EncodeThreadData } from './encode-thread.ts';

/** A text was not tokenized for a reason of ours. */
export class TextThreadError extends Error {
  readonly reason: 'full' | 'share-full' | 'timeout' | 'failed';
  constructor(reason: TextThreadError['reason'], message: string) {
    super(message);
    this.name = 'TextThreadError';
    this.reason = reason;
  }
}

/** Whose text it is, and until when somebody waits for its tokens. */
export interface TextClient {
  /** What a share is given to: an API key, say. */
  client?: string | undefined;
  /** Where it is to whoever has an address: an IPv4 address or, as limits have it, an IPv6 network of /64. */
  address?: string | undefined;
  signal?: AbortSignal | undefined;
}

interface Job {
  task: EncodeTask;
  settle(outcome: EncodeOutcome | Error): void;
}

export interface TextThreadOptions extends EncodeThreadData {
  /** Of the texts that wait, each of which may hold a body of 1 MiB. */
  bounds?: QueueBounds;
  /** From handing a task to the thread until it counts as hung. */
  timeoutMs?: number;
  /** From the moment when nobody waits for the running task any more until its thread is ended. */
  abandonedMs?: number;
  /** Starts a thread; for tests. */
  start?: (data: EncodeThreadData) => Worker;
}

const BOUNDS: QueueBounds = { maxItems: 128, maxOfShare: 16 };
/** A megabyte takes 1 to 8 s on a busy machine of 2.5 GHz (DeepSeek's and Qwen's vocabularies; one-digit words the longest). */
const TIMEOUT_MS = 60_000;
/** A new thread needs about as long to load a large vocabulary. */
const ABANDONED_MS = 1_000;
/** Threads that were ended and are still running, since they cannot be interrupted. With this many, no other is started. */
const MAX_ENDING = 2;

/** Tokenizes texts in a thread of its own, one at a time, and clients in turn. A thread that hangs or dies fails its task only. */
export class TextThread {
  readonly #options: TextThreadOptions;
  readonly #waiting: ClientQueue<Job>;
  #thread: Worker | undefined;
  readonly #ending = new Set<Promise<unknown>>();
  #running: { job: Job; timer: NodeJS.Timeout } | undefined;
  #closed = false;

  constructor(options: TextThreadOptions) {
    this.#options = options;
    this.#waiting = new ClientQueue(options.bounds ?? BOUNDS);
  }

  /** Rejects with a TextThreadError, or with the signal's reason. */
  encode(task: EncodeTask, { signal, ...client }: TextClient): Promise<EncodeOutcome> {
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(closedError());
      if (signal?.aborted) return reject(signal.reason as Error);
      const origin = originOf(client);
      const onAbort = (): void => {
        this.#waiting.remove(origin, job);
        if (this.#running?.job === job) this.#abandon();
        job.settle(signal!.reason as Error);
      };
      const job: Job = {
        task,
        settle(outcome) {
          signal?.removeEventListener('abort', onAbort);
          if (outcome instanceof Error) reject(outcome);
          else resolve(outcome);
        },
      };
      const full = this.#waiting.add(origin, job);
      if (full && 'refused' in full) return reject(fullError(full.refused));
      full?.displaced.settle(fullError('share-full'));
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#next();
    });
  }

  /** Rejects all tasks, and resolves when the threads have ended. */
  async close(): Promise<void> {
    this.#closed = true;
    for (let job = this.#waiting.take(); job; job = this.#waiting.take()) job.settle(closedError());
    this.#drop(closedError());
    await Promise.all(this.#ending);
  }

  #next(): void {
    if (this.#running || this.#closed || (!this.#thread && this.#ending.size >= MAX_ENDING)) return;
    const job = this.#waiting.take();
    if (!job) return;
    const timeoutMs = this.#options.timeoutMs ?? TIMEOUT_MS;
    const error = new TextThreadError('timeout', `a text was not tokenized within ${timeoutMs / 1000} s`);
    this.#running = { job, timer: setTimeout(() => this.#drop(error), timeoutMs) };
    this.#thread ??= this.#start();
    // The thread keeps the process alive only while it works.
    this.#thread.ref();
    this.#thread.postMessage(job.task);
  }

  /** Nobody waits for the running task: it may end soon, so that the thread can go on, and otherwise the thread ends. */
  #abandon(): void {
    const running = this.#running!;
    clearTimeout(running.timer);
    const error = new TextThreadError('timeout', 'nobody waits for these tokens');
    running.timer = setTimeout(() => this.#drop(error), this.#options.abandonedMs ?? ABANDONED_MS);
  }

  #start(): Worker {
    const { files, start = startThread } = this.#options;
    const thread = start({ files });
    const gone = (why: string): void => {
      if (this.#thread === thread) this.#drop(new TextThreadError('failed', `the tokenizer’s thread: ${why}`));
    };
    thread.on('message', (reply: EncodeReply) => {
      if (this.#thread === thread) this.#settle(reply);
    });
    thread.on('error', (error) => gone(error.message));
    thread.on('exit', (code) => gone(`it ended with code ${code}`));
    return thread;
  }

  #settle(reply: EncodeReply): void {
    if (!this.#running) return;
    const { job, timer } = this.#running;
    clearTimeout(timer);
    this.#running = undefined;
    this.#thread?.unref();
    job.settle('error' in reply ? new TextThreadError('failed', reply.error) : reply);
    this.#next();
  }

  /** Ends the thread and rejects the task that runs on it. */
  #drop(error: Error): void {
    const thread = this.#thread;
    this.#thread = undefined;
    if (thread) this.#end(thread);
    if (this.#running) {
      clearTimeout(this.#running.timer);
      this.#running.job.settle(error);
      this.#running = undefined;
    }
    this.#next();
  }

  #end(thread: Worker): void {
    const ending = thread.terminate().finally(() => {
      this.#ending.delete(ending);
      this.#next();
    });
    this.#ending.add(ending);
  }
}

function startThread(data: EncodeThreadData): Worker {
  return startTypescriptThread(new URL('./encode-thread.ts', import.meta.url), data);
}

const fullError = (reason: 'full' | 'share-full'): Error =>
  new TextThreadError(reason, 'too many texts wait to be tokenized');

const closedError = (): Error => new TextThreadError('failed', 'the coordinator is shutting down');
