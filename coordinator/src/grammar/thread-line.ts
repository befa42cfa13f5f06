import type { Worker } from 'node:worker_threads';
import { GrammarError } from './grammar-error.ts';
import type { GrammarOrder, GrammarReply } from './thread-messages.ts';

type WithReply<O> = O extends { reply: number } ? Omit<O, 'reply'> : never;
/** An order that is answered. */
export type GrammarQuestion = WithReply<GrammarOrder>;
export type GrammarStatement = Exclude<GrammarOrder, { reply: number }>;
export type GrammarAnswer = number | (Uint32Array | undefined)[];

interface Asked {
  resolve: (value: GrammarAnswer) => void;
  reject: (error: GrammarError) => void;
}

/**
 * Orders to one thread and its replies. What is ordered in one turn of the event loop goes as one message, since a message costs
 * about as much as a mask. When the thread dies, or answers nothing for too long, everything asked of it fails.
 */
export class ThreadLine {
  readonly #thread: Worker;
  readonly #timeoutMs: number;
  readonly #onEnd: () => void;
  readonly #asked = new Map<number, Asked>();
  #orders: GrammarOrder[] = [];
  #nextReply = 0;
  #watch: NodeJS.Timeout | undefined;
  #end: GrammarError | undefined;
  #exited: Promise<unknown> | undefined;

  constructor(thread: Worker, timeoutMs: number, onEnd: () => void) {
    this.#thread = thread;
    this.#timeoutMs = timeoutMs;
    this.#onEnd = onEnd;
    // The thread keeps the process alive only while something is asked of it.
    thread.unref();
    thread.on('message', (replies: GrammarReply[]) => replies.forEach((reply) => this.#settle(reply)));
    thread.on('error', (error) => this.end(new GrammarError('failed', `the grammars’ thread: ${error.message}`)));
    thread.on('exit', (code) => this.end(new GrammarError('failed', `the grammars’ thread ended with code ${code}`)));
  }

  /** Questions that have no answer yet. */
  get waiting(): number {
    return this.#asked.size;
  }

  ask(question: GrammarQuestion): Promise<GrammarAnswer> {
    return new Promise((resolve, reject) => {
      if (this.#end) return reject(this.#end);
      const reply = this.#nextReply++;
      this.#asked.set(reply, { resolve, reject });
      this.#thread.ref();
      this.#watch ??= setTimeout(() => this.#giveUp(), this.#timeoutMs);
      this.#push({ ...question, reply });
    });
  }

  tell(statement: GrammarStatement): void {
    if (!this.#end) this.#push(statement);
  }

  /** Ends the thread and rejects what was asked; resolves when it has ended. */
  async end(error: GrammarError): Promise<void> {
    if (!this.#end) {
      this.#end = error;
      clearTimeout(this.#watch);
      for (const { reject } of this.#asked.values()) reject(error);
      this.#asked.clear();
      this.#exited = this.#thread.terminate();
      this.#onEnd();
    }
    await this.#exited;
  }

  #push(order: GrammarOrder): void {
    if (this.#orders.push(order) === 1) queueMicrotask(() => this.#thread.postMessage(this.#orders.splice(0)));
  }

  #settle(reply: GrammarReply): void {
    const asked = this.#asked.get(reply.reply);
    if (!asked) return;
    this.#asked.delete(reply.reply);
    if ('error' in reply) asked.reject(new GrammarError(reply.error.reason, reply.error.message));
    else asked.resolve(reply.value);
    if (this.#asked.size > 0) {
      this.#watch?.refresh();
      return;
    }
    clearTimeout(this.#watch);
    this.#watch = undefined;
    this.#thread.unref();
  }

  #giveUp(): void {
    const message = `the grammars’ thread gave no answer within ${this.#timeoutMs / 1000} s`;
    void this.end(new GrammarError('timeout', message));
  }
}
