/** A traced token of a 61-layer model takes about 40 kB, so a megabyte is no valid event. */
export const MAX_EVENT_CHARS = 1 << 20;

export class SseError extends Error {
  readonly reason = 'event-too-long';
  constructor() {
    super(`The server sent an event longer than ${MAX_EVENT_CHARS} characters; the answer was cut off here.`);
    this.name = 'SseError';
  }
}

/** Parses the `data` of server-sent events (WHATWG HTML §9.2.6) from chunks split anywhere, even within a character or a CRLF. */
export class SseParser {
  readonly #decoder = new TextDecoder();
  #rest = '';
  #data: string[] = [];
  #dataChars = 0;

  /** Returns the data of every event that `bytes` completes. */
  push(bytes: Uint8Array): string[] {
    this.#rest += this.#decoder.decode(bytes, { stream: true });
    const events: string[] = [];
    for (;;) {
      const end = /\r\n|\n|\r/.exec(this.#rest);
      // A CR at the very end may be the first half of a CRLF.
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
