import type { Reading } from './answer-input.ts';
import type { AnswerIo, CallOutcome } from './answer-io.ts';
import { readJson } from './read-json.ts';

const HEADER = /[^\s<>[\]{}"]*/y;
const MAX_HEADER = 256;

/** Reads a call's name, or what it stands in, up to white space or the next marker; undefined where there is none. */
export function* readHeader({ input }: AnswerIo): Reading<string | undefined> {
  let header = '';
  yield* input.skipSpace();
  yield* input.takeWhile(HEADER, (text) => (header += text));
  // At the answer's end, it may have been cut off.
  return header === '' || header.length > MAX_HEADER || input.isDone ? undefined : header;
}

/** Reads a text if it comes next, after white space. */
export function* tryNext({ input }: AnswerIo, text: string): Reading<boolean> {
  yield* input.skipSpace();
  return yield* input.tryText(text);
}

/** Reads the arguments of a call whose name is known, which are JSON. */
export function* readHeadedCall({ input, events }: AnswerIo, name: string, id?: string): Reading<CallOutcome> {
  events.call(name, id);
  yield* input.skipSpace();
  const next = yield* input.peek();
  // Without arguments, the call's end comes at once.
  if (next !== '{') {
    if (input.hasEnded) return 'broken';
    events.endCall();
    return 'whole';
  }
  const outcome = yield* readJson(input, (text) => events.arguments(text));
  return outcome === 'whole' ? 'whole' : 'broken';
}
