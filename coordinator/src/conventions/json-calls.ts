import type { ChatToolCall } from '@shoal/model';
import type { AnswerInput, Reading } from './answer-input.ts';
import type { AnswerIo, CallOutcome } from './answer-io.ts';
import { readJson } from './read-json.ts';

const ARGUMENT_KEYS = new Set(['arguments', 'parameters', 'args', 'input']);

interface CallSoFar {
  name?: string;
  id?: string | undefined;
  /** Arguments that came before the name. */
  early?: string;
  hasBegun: boolean;
  /** Whether it may be a call of this name. */
  accepts: (name: string) => boolean;
}

/** For calls that a marker announces. */
const ANY_NAME = (): boolean => true;

/** Reads calls written as JSON objects, one or more of them, in an array or with white space, commas or semicolons between. */
export function* readJsonCalls(io: AnswerIo, accepts: (name: string) => boolean = ANY_NAME): Reading<CallOutcome> {
  const { input } = io;
  let outcome: CallOutcome = 'none';
  yield* input.skipSpace();
  const isArray = yield* input.tryText('[');
  for (;;) {
    yield* input.skipSpace();
    const next = yield* input.peek();
    if (next !== '{') {
      if (isArray && outcome === 'whole' && next === ']') input.take(1);
      return outcome;
    }
    const one = yield* readCall(io, { hasBegun: false, accepts });
    if (one !== 'whole') return one;
    outcome = 'whole';
    io.events.endCall();
    // What was read so far is no content, whatever follows.
    input.takeRecord();
    input.record('');
    yield* readSeparator(input, isArray);
  }
}

function* readSeparator(input: AnswerInput, isArray: boolean): Reading<void> {
  yield* input.skipSpace();
  const next = yield* input.peek();
  if (next === ';' || (isArray && next === ',')) input.take(1);
}

/** Reads a JSON object that begins here. */
function* readCall(io: AnswerIo, call: CallSoFar): Reading<CallOutcome> {
  const { input } = io;
  const failed = (): CallOutcome => (call.hasBegun ? 'broken' : 'none');
  input.take(1);
  for (;;) {
    yield* input.skipSpace();
    if (yield* input.tryText('}')) return endOfObject(io, call);
    const key = yield* readText(input);
    yield* input.skipSpace();
    if (key === undefined || !(yield* input.tryText(':'))) return failed();
    yield* input.skipSpace();
    if (!(yield* readMember(io, call, key))) return failed();
    yield* input.skipSpace();
    const isLast = !(yield* input.tryText(','));
    if (isLast && (yield* input.peek()) !== '}') return failed();
  }
}

function endOfObject({ events }: AnswerIo, call: CallSoFar): CallOutcome {
  if (call.name === undefined) return 'none';
  if (!call.hasBegun) {
    // An object with nothing but a name is a call only where a marker says so.
    if (call.early === undefined && call.accepts !== ANY_NAME) return 'none';
    events.call(call.name, call.id);
    call.hasBegun = true;
    events.arguments(call.early ?? '');
  }
  return 'whole';
}

/** Reads a member's value: whether it fits a call. */
function* readMember(io: AnswerIo, call: CallSoFar, key: string): Reading<boolean> {
  const { input, events } = io;
  const next = yield* input.peek();
  if ((key === 'name' || (key === 'function' && next === '"')) && call.name === undefined) {
    const name = yield* readText(input);
    if (name === undefined || name === '' || !call.accepts(name)) return false;
    call.name = name;
    return true;
  }
  if (key === 'id' && next === '"' && !call.hasBegun) {
    call.id = yield* readText(input);
    return call.id !== undefined;
  }
  if (key === 'function' && next === '{') return (yield* readCall(io, call)) === 'whole';
  if (!ARGUMENT_KEYS.has(key) || call.hasBegun || call.early !== undefined) {
    return (yield* readJson(input, () => undefined)) === 'whole';
  }
  if (call.name === undefined) {
    const parts: string[] = [];
    const isWhole = yield* readArguments(input, next, (text) => parts.push(text));
    call.early = parts.join('');
    return isWhole;
  }
  events.call(call.name, call.id);
  call.hasBegun = true;
  return yield* readArguments(input, next, (text) => events.arguments(text));
}

/** Reads arguments, which some models write as a string of JSON. */
function* readArguments(input: AnswerInput, next: string, onText: (text: string) => void): Reading<boolean> {
  if (next !== '"' && next !== 'n') return (yield* readJson(input, onText)) === 'whole';
  const parts: string[] = [];
  const outcome = yield* readJson(input, (text) => parts.push(text));
  if (outcome !== 'whole') return false;
  const value = JSON.parse(parts.join('')) as string | null;
  if (value !== null) onText(value);
  return true;
}

/** Reads a JSON string: its value; undefined if there is none. */
function* readText(input: AnswerInput): Reading<string | undefined> {
  if ((yield* input.peek()) !== '"') return undefined;
  const parts: string[] = [];
  const outcome = yield* readJson(input, (text) => parts.push(text));
  return outcome === 'whole' ? (JSON.parse(parts.join('')) as string) : undefined;
}

/** A call of a conversation as `readJsonCalls` reads it. */
export function writeJsonCall(call: ChatToolCall): string {
  const { name, arguments: text } = call.function;
  return `{"name": ${JSON.stringify(name)}, "arguments": ${text.trim() === '' ? '{}' : text}}`;
}
