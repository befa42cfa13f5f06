import type { Tokenizer } from '@shoal/model';
import { TokenBucket } from '../base/token-bucket.ts';
import {
  type Conversation,
  encodeNow,
  type EncodeOutcome,
  encodeRendered,
  type EncodeTask,
  renderedTask,
  renderWithin,
  taskBytes,
  withTail,
} from './encode-task.ts';
import { type TextClient, TextThread, type TextThreadOptions } from './text-thread.ts';

/**
 * Largest text that is tokenized on the main thread, where it costs at most 8 ms (DeepSeek's and Qwen's vocabularies, runs of
 * spaces or emoji); usual text of this length takes 1 ms, and the way to a thread and back 0.2 ms.
 */
const MAIN_BYTES = 2_048;
/**
 * Bytes of texts that are tokenized on the main thread at a time, at most 16 ms and usually 2 ms, and each second, at most 64 ms
 * and usually 8 ms. A single text is bounded by its size; this bounds many of them, whoever sends them.
 */
const MAIN_BUDGET = { burstBytes: 4_096, bytesPerS: 16_384 };
/** Steps of a template on the main thread, 3 ms; published ones take up to 6,000 for conversations of such a size. */
const MAIN_STEPS = 30_000;
/** Texts of up to this size take at most 0.5 s, and have a thread that never waits for longer ones. */
const SHORT_BYTES = 65_536;
/** Among them are those that the main thread has no time for: by default a client may have 112 requests at once. */
const SHORT_BOUNDS = { maxItems: 256, maxOfShare: 128 };

export interface TextEncodingOptions extends TextThreadOptions {
  /** Steady, in milliseconds. */
  clock?: () => number;
}

/** Turns texts into tokens without ever blocking the process for long. */
export class TextEncoding {
  readonly #tokenizer: Tokenizer;
  readonly #mainBudget: TokenBucket;
  readonly #short: TextThread;
  readonly #long: TextThread;

  constructor(tokenizer: Tokenizer, { clock, ...options }: TextEncodingOptions) {
    this.#tokenizer = tokenizer;
    const { burstBytes, bytesPerS } = MAIN_BUDGET;
    this.#mainBudget = new TokenBucket(burstBytes, (1_000 * burstBytes) / bytesPerS, clock);
    this.#short = new TextThread({ bounds: SHORT_BOUNDS, ...options });
    this.#long = new TextThread(options);
  }

  /** Rejects with a TextThreadError, or with the signal's reason. */
  async encode(task: EncodeTask, client: TextClient): Promise<EncodeOutcome> {
    const bytes = taskBytes(task);
    if (bytes > MAIN_BYTES || this.#mainBudget.take(bytes) > 0) return this.#inThread(task, bytes, client);
    return 'text' in task ? encodeNow(this.#tokenizer, task) : this.#renderFirst(task, bytes, client);
  }

  /** Renders on the main thread, and tokenizes there what has not become much longer: only the template knows what it adds. */
  async #renderFirst(task: EncodeTask & Conversation, paidBytes: number, client: TextClient): Promise<EncodeOutcome> {
    const text = renderWithin(this.#tokenizer, task, MAIN_STEPS);
    if (text === undefined) {
      this.#mainBudget.debit(MAIN_BUDGET.burstBytes);
      return this.#short.encode(task, client);
    }
    if (typeof text !== 'string') return { fault: text };
    const bytes = Buffer.byteLength(text);
    const isPaid = bytes <= paidBytes || this.#mainBudget.take(bytes - paidBytes) === 0;
    if (bytes <= MAIN_BYTES && isPaid) return encodeRendered(this.#tokenizer, text, task);
    return withTail(text, await this.#inThread(renderedTask(text, task), bytes, client));
  }

  async #inThread(task: EncodeTask, bytes: number, client: TextClient): Promise<EncodeOutcome> {
    // Most texts that cannot fit are refused here, without the way to a thread.
    if ('text' in task && this.#tokenizer.minTokens(task.text) > task.maxTokens)
      return { fault: { reason: 'too-long', bytes } };
    return (bytes <= SHORT_BYTES ? this.#short : this.#long).encode(task, client);
  }

  async close(): Promise<void> {
    await Promise.all([this.#short.close(), this.#long.close()]);
  }
}
