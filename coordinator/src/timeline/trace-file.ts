import { open, type FileHandle } from 'node:fs/promises';
import type { WriteStream } from 'node:fs';

/** An event of the Trace Event Format (chrome://tracing, Perfetto). Times in microseconds. */
export interface TraceEvent {
  name: string;
  /** X: a span; i: a moment; M: the name of a row. */
  ph: 'X' | 'i' | 'M';
  ts: number;
  dur?: number;
  pid: number;
  tid: number;
  args?: Record<string, unknown>;
}

export interface TraceFileOptions {
  path: string;
  /** Largest size of the file. */
  maxBytes?: number;
  /** Events that wait for the disk. Those beyond it are dropped and counted. */
  maxBufferedBytes?: number;
  /** Called when the file cannot be written any more, which ends the trace. */
  onError?: (error: Error) => void;
}

/** The trace's file cannot be opened. */
export class TraceError extends Error {
  constructor(path: string, cause: unknown) {
    const why = cause instanceof Error ? cause.message : String(cause);
    super(`the trace cannot be written to ${path}: ${why}. Name a file in a folder that can be written to (--trace)`, {
      cause,
    });
    this.name = 'TraceError';
  }
}

/** About two hours of a busy coordinator, and what Perfetto still opens with ease. */
const MAX_BYTES = 512 * 2 ** 20;
const MAX_BUFFERED_BYTES = 8 * 2 ** 20;
/** Bytes of a write, unless a second passes first; a killed process loses no more than one write. */
const CHUNK_BYTES = 64 * 1024;
const FLUSH_MS = 1000;
/** Kept free for the last event, which says why the trace ends. */
const ENDING_BYTES = 512;

/**
 * A trace in the JSON array format, one event a line, streamed to disk. Only whole lines are written, and the format allows
 * the closing bracket to be missing, so the file of a killed process can be opened too.
 */
export class TraceFile {
  /** Events that were dropped because the disk was too slow. */
  dropped = 0;
  readonly #stream: WriteStream;
  readonly #maxBytes: number;
  readonly #maxBufferedBytes: number;
  readonly #timer: NodeJS.Timeout;
  #lines = '';
  #bytes = 0;
  #last = { ts: 0, pid: 1, tid: 1 };
  #isEnded = false;

  private constructor(file: FileHandle, options: TraceFileOptions) {
    this.#maxBytes = options.maxBytes ?? MAX_BYTES;
    this.#maxBufferedBytes = options.maxBufferedBytes ?? MAX_BUFFERED_BYTES;
    this.#stream = file.createWriteStream();
    this.#stream.on('error', (error) => {
      if (!this.#isEnded) options.onError?.(error);
      this.#stop();
    });
    this.#timer = setInterval(() => this.#flush(), FLUSH_MS);
    this.#timer.unref();
    this.#append('[\n');
  }

  /** Overwrites the file. Rejects with a TraceError where it cannot be written. */
  static async open(options: TraceFileOptions): Promise<TraceFile> {
    const file = await open(options.path, 'w').catch((cause: unknown) => {
      throw new TraceError(options.path, cause);
    });
    return new TraceFile(file, options);
  }

  write(event: TraceEvent): void {
    if (this.#isEnded) return;
    const line = `${JSON.stringify(event)},\n`;
    if (this.#stream.writableLength + this.#lines.length + line.length > this.#maxBufferedBytes) {
      this.dropped++;
      return;
    }
    if (this.#bytes + line.length + ENDING_BYTES > this.#maxBytes) return this.#end(`full: ${this.#maxBytes} bytes`);
    const { ts, pid, tid } = event;
    this.#last = { ts, pid, tid };
    this.#append(line);
    if (this.#lines.length >= CHUNK_BYTES) this.#flush();
  }

  /** Resolves when everything is on disk. */
  async close(): Promise<void> {
    this.#end('closed');
    if (this.#stream.closed) return;
    await new Promise<void>((resolve) => this.#stream.once('close', resolve));
  }

  #end(reason: string): void {
    if (this.#isEnded) return;
    const event = { name: `end of the trace (${reason})`, ph: 'i', ...this.#last, args: { dropped: this.dropped } };
    this.#append(`${JSON.stringify(event)}\n]\n`);
    this.#flush();
    this.#stop();
    this.#stream.end();
  }

  #stop(): void {
    this.#isEnded = true;
    clearInterval(this.#timer);
  }

  #append(line: string): void {
    this.#lines += line;
    this.#bytes += Buffer.byteLength(line);
  }

  #flush(): void {
    if (this.#lines === '') return;
    this.#stream.write(this.#lines);
    this.#lines = '';
  }
}
