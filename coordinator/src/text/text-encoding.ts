import type { Tokenizer } from '@shoal/model';
import { TokenBucket } from '../base/token-bucket.ts';
import { encodeNow, type EncodeOutcome, type EncodeTask, taskBytes } from './encode-task.ts';
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
    if (bytes <= MAIN_BYTES && this.#mainBudget.take(bytes) === 0) return encodeNow(this.#tokenizer, task);
    // Most texts that cannot fit are refused here, without the way to a thread.
    if ('text' in task && this.#tokenizer.minTokens(task.text) > task.maxTokens)
      return { fault: { reason: 'too-long', bytes } };
    return (bytes <= SHORT_BYTES ? this.#short : this.#long).encode(task, client);
  }

  async close(): Promise<void> {
    await Promise.all([this.#short.close(), this.#long.close()]);
  }
}
