import type { Reading } from './answer-input.ts';
import type { AnswerIo, CallOutcome } from './answer-io.ts';
import { argumentTypes, type ArgumentTypes, isAlwaysText, JSON_TYPES, typedJson } from './argument-types.ts';

/** How calls are written whose arguments are texts between tags. */
export interface TaggedForm {
  /** What stands before a call's name, and after it. */
  callOpen: string;
  nameEnd: string;
  callClose: string;
  /** What stands before a parameter's name, after it, and after its value. */
  keyOpen: string;
  keyEnd: string;
  valueClose: string;
  /** What stands before a value, where that is more than what ends the name. */
  valueOpen?: string;
  /** Whether a value stands on lines of its own. */
  ownLines?: boolean;
  /** What follows a parameter's name where the value is a string, and where it is JSON; with these, no schema is asked. */
  kinds?: { text: string; json: string };
}

const NAME = /[^\s<>"'=]*/y;
const MAX_NAME = 256;

/** Reads calls, one or more; what comes after them is left. */
export function* readTaggedCalls(io: AnswerIo, form: TaggedForm): Reading<CallOutcome> {
  let outcome: CallOutcome = 'none';
  for (;;) {
    yield* io.input.skipSpace();
    if (!(yield* io.input.tryText(form.callOpen))) return outcome;
    const one = yield* readTaggedCall(io, form);
    if (one !== 'whole') return outcome === 'none' ? one : 'broken';
    outcome = 'whole';
    io.input.takeRecord();
    io.input.record('');
  }
}

/** Reads a call from its name on. */
export function* readTaggedCall(io: AnswerIo, form: TaggedForm): Reading<CallOutcome> {
  const { input, events } = io;
  const name = yield* readName(io);
  if (name === undefined || !(yield* input.tryText(form.nameEnd))) return 'none';
  events.call(name);
  const tool = io.tools.find((one) => one.name === name);
  let before = '{';
  for (;;) {
    yield* input.skipSpace();
    if (!(yield* input.tryText(form.keyOpen))) break;
    const key = yield* readKey(io, form);
    if (key === undefined) return 'broken';
    events.arguments(`${before}${JSON.stringify(key)}: `);
    before = ', ';
    if (form.valueOpen !== undefined) {
      yield* input.skipSpace();
      if (!(yield* input.tryText(form.valueOpen))) return 'broken';
    }
    const types = form.kinds ? yield* readKind(io, form.kinds) : argumentTypes(tool, key);
    if (!(yield* readValue(io, form, types))) return 'broken';
  }
  const isClosed = yield* input.tryText(form.callClose);
  // A cut-off answer may have had more arguments.
  if (!isClosed && input.hasEnded) return 'broken';
  // Some models leave out the tag that closes a call.
  if (!isClosed && before === '{') return 'broken';
  if (before !== '{') events.arguments('}');
  events.endCall();
  return 'whole';
}

/** A function's name; undefined where the text is none. */
export function* readName({ input }: AnswerIo): Reading<string | undefined> {
  let name = '';
  yield* input.skipSpace();
  yield* input.takeWhile(NAME, (text) => (name += text));
  // At the answer's end, the name may have been cut off.
  return name === '' || name.length > MAX_NAME || input.isDone ? undefined : name;
}

function* readKey({ input }: AnswerIo, form: TaggedForm): Reading<string | undefined> {
  let key = '';
  const end = yield* input.until([form.keyEnd, '\n'], (text) => (key += text));
  return end === form.keyEnd ? key : undefined;
}

const STRING: ArgumentTypes = new Set(['string']);

function* readKind({ input }: AnswerIo, kinds: { text: string; json: string }): Reading<ArgumentTypes> {
  if (yield* input.tryText(kinds.text)) return STRING;
  if (yield* input.tryText(kinds.json)) return JSON_TYPES;
  yield* input.tryText('>');
  return undefined;
}

/** Reads a value and hands it on as JSON: whether it is whole. */
function* readValue({ input, events }: AnswerIo, form: TaggedForm, types: ArgumentTypes): Reading<boolean> {
  if (form.ownLines) yield* input.tryText('\n');
  const close = form.ownLines ? [`\n${form.valueClose}`, form.valueClose] : [form.valueClose];
  if (isAlwaysText(types)) {
    events.arguments('"');
    const onText = (text: string): void => events.arguments(JSON.stringify(text).slice(1, -1));
    const end = yield* input.until(close, onText, () => undefined);
    if (end !== undefined) events.arguments('"');
    return end !== undefined;
  }
  const parts: string[] = [];
  const end = yield* input.until(close, (text) => parts.push(text));
  if (end !== undefined) events.arguments(typedJson(parts.join(''), types));
  return end !== undefined;
}
