/*
 * Postgres's protocol, version 3, as far as connections of the embedded database need it: a type (1 byte), a length (4 bytes,
 * its own included) and a body. The first message of a client has no type.
 * https://www.postgresql.org/docs/current/protocol-message-formats.html
 */

const SYNC = 0x53; // S
const QUERY = 0x51; // Q
const TERMINATE = 0x58; // X
const NOTIFICATION = 0x41; // A
const READY_FOR_QUERY = 0x5a; // Z
const IDLE = 0x49; // I

/** Cuts a stream into messages. */
export class Frames {
  #rest: Uint8Array = new Uint8Array(0);
  #startsUntyped: boolean;
  /** Messages before their Sync. */
  #query: Uint8Array[] = [];

  /** @param fromClient whether it begins with a startup message */
  constructor(fromClient: boolean) {
    this.#startsUntyped = fromClient;
  }

  /** Whole messages. */
  push(bytes: Uint8Array): Uint8Array[] {
    let rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    const frames: Uint8Array[] = [];
    for (;;) {
      const typed = this.#startsUntyped ? 0 : 1;
      if (rest.length < typed + 4) break;
      const length = typed + new DataView(rest.buffer, rest.byteOffset).getInt32(typed);
      if (rest.length < length) break;
      frames.push(rest.subarray(0, length));
      this.#startsUntyped = false;
      rest = rest.subarray(length);
    }
    this.#rest = rest;
    return frames;
  }

  /** What a client sends, by whole queries: messages up to a Sync, or a simple Query. */
  queries(bytes: Uint8Array): (Uint8Array | 'startup' | 'terminate')[] {
    const found: (Uint8Array | 'startup' | 'terminate')[] = [];
    const isFirst = this.#startsUntyped;
    for (const [i, frame] of this.push(bytes).entries()) {
      const type = frame[0];
      if (isFirst && i === 0) found.push('startup');
      else if (type === TERMINATE) found.push('terminate');
      else {
        this.#query.push(frame);
        if (type !== SYNC && type !== QUERY) continue;
        found.push(Buffer.concat(this.#query));
        this.#query = [];
      }
    }
    return found;
  }
}

export const isNotification = (frame: Uint8Array): boolean => frame[0] === NOTIFICATION;

/** By the ReadyForQuery that ends the answers of a query. */
export function transactionStatus(answers: Uint8Array): 'idle' | 'open' {
  const at = answers.length - 6;
  return at >= 0 && answers[at] === READY_FOR_QUERY && answers[at + 5] !== IDLE ? 'open' : 'idle';
}
