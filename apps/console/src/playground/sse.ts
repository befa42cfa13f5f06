/**
 * Server-sent events out of a byte stream (WHATWG HTML §9.2.6, the `data` field only): a parser that takes chunks split
 * anywhere, also within a character or between CR and LF.
 */

/** A traced token of a 61-layer model is some 40 kB; a megabyte of one event is not an answer any more. */
export const MAX_EVENT_CHARS = 1 << 20;

export class SseError extends Error {
  readonly reason = 'event-too-long';
  constructor() {
    super(`The server sent an event longer than ${MAX_EVENT_CHARS} characters; the answer was cut off here.`);
    this.name = 'SseError';
  }
}

export class SseParser {
  readonly #decoder = new TextDecoder();
  #rest = '';
  #data: string[] = [];
  #dataChars = 0;

  /** The data of every event that `bytes` completes. */
  push(bytes: Uint8Array): string[] {
    this.#rest += this.#decoder.decode(bytes, { stream: true });
    const events: string[] = [];
    for (;;) {
      const end = /\r\n|\n|\r/.exec(this.#rest);
      // A CR at the very end may be the first half of a CRLF that has not come yet.
      if (!end || (end[0] === '\r' && end.index === this.#rest.length - 1)) break;
      const line = this.#rest.slice(0, end.index);
      this.#rest = this.#rest.slice(end.index + end[0].length);
      this.#take(line, events);
    }
    if (this.#rest.length + this.#dataChars > MAX_EVENT_CHARS) throw new SseError();
    return events;
  }

  #take(line: string, events: string[]): void {
    if (line === '') {
      if (this.#data.length > 0) events.push(this.#data.join('\n'));
      this.#data = [];
      this.#dataChars = 0;
    } else if (line.startsWith('data:')) {
      const value = line.startsWith('data: ') ? line.slice(6) : line.slice(5);
      this.#data.push(value);
      this.#dataChars += value.length;
    }
  }
}
