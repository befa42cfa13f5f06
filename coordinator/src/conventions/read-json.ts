import type { AnswerInput, Reading } from './answer-input.ts';

/** `bad`: what comes next is no JSON. `cut`: the answer ended, or a special token came, inside the value. */
export type JsonOutcome = 'whole' | 'bad' | 'cut';

const WORD = /[-+.\w]*/y;
const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?$/;
/** Python's constants, which models write too. */
const CONSTANTS: Readonly<Record<string, string>> = {
  true: 'true',
  false: 'false',
  null: 'null',
  True: 'true',
  False: 'false',
  None: 'null',
};
/** By the quote that ends a string: what stands in it and in JSON's strings as it is. */
const PLAIN: Readonly<Record<string, RegExp>> = {
  // Control characters may not stand in JSON's strings.
  // oxlint-disable-next-line no-control-regex
  '"': /[^"\\\u0000-\u001f]*/y,
  // oxlint-disable-next-line no-control-regex
  "'": /[^'"\\\u0000-\u001f]*/y,
};
const SHORT_ESCAPES = '"\\/bfnrt';

type Expected = 'value' | 'first-value' | 'key' | 'first-key' | 'after';

/**
 * Reads a JSON value and hands on its text as it comes. Mends what models often get wrong and what has one meaning only: line
 * ends in strings, needless backslashes, a comma before a closing bracket, and Python's constants and quotes.
 */
export function* readJson(input: AnswerInput, onText: (text: string) => void): Reading<JsonOutcome> {
  /** The brackets that close what is open. */
  const open: string[] = [];
  let expected: Expected = 'value';
  /** A comma with the space after it, held until a value follows. */
  let comma = '';
  const emit = (text: string): void => {
    onText(comma + text);
    comma = '';
  };
  const onSpace = (space: string): void => {
    if (comma !== '') comma += space;
    else if (open.length > 0) onText(space);
  };
  do {
    yield* input.skipSpace(onSpace);
    const next = yield* input.peek();
    if (next === '') return 'cut';
    let outcome: JsonOutcome = 'whole';
    if (next === open.at(-1) && (comma !== '' || expected === 'after' || expected.startsWith('first'))) {
      comma = '';
      emit(input.take(1));
      open.pop();
      expected = 'after';
    } else if (expected === 'after') {
      if (next !== ',') return 'bad';
      comma = input.take(1);
      expected = open.at(-1) === '}' ? 'key' : 'value';
    } else if (expected === 'key' || expected === 'first-key') {
      outcome = isQuote(next) ? yield* readKey(input, emit) : 'bad';
      expected = 'value';
    } else if (next === '{' || next === '[') {
      emit(input.take(1));
      open.push(next === '{' ? '}' : ']');
      expected = next === '{' ? 'first-key' : 'first-value';
    } else {
      outcome = isQuote(next) ? yield* readString(input, emit) : yield* readWord(input, emit);
      expected = 'after';
    }
    if (outcome !== 'whole') return outcome;
  } while (open.length > 0);
  return 'whole';
}

function* readKey(input: AnswerInput, emit: (text: string) => void): Reading<JsonOutcome> {
  const outcome = yield* readString(input, emit);
  if (outcome !== 'whole') return outcome;
  yield* input.skipSpace(emit);
  const next = yield* input.peek();
  if (next !== ':') return next === '' ? 'cut' : 'bad';
  emit(input.take(1));
  return 'whole';
}

const isQuote = (character: string): boolean => character === '"' || character === "'";

/** Reads a string that begins here. */
function* readString(input: AnswerInput, emit: (text: string) => void): Reading<JsonOutcome> {
  const quote = input.take(1);
  emit('"');
  for (;;) {
    yield* input.takeWhile(PLAIN[quote]!, emit);
    const next = yield* input.peek();
    if (next === '') return 'cut';
    input.take(1);
    if (next === quote) {
      emit('"');
      return 'whole';
    }
    const escape = next === '\\' ? yield* readEscape(input) : JSON.stringify(next).slice(1, -1);
    if (escape === undefined) return 'cut';
    emit(escape);
  }
}

/** What follows a backslash, with it; undefined if the answer ends before it is whole. */
function* readEscape(input: AnswerInput): Reading<string | undefined> {
  const letter = yield* input.peek();
  if (letter === '') return undefined;
  if (letter === 'u' || letter === 'x') {
    const length = input.take(1) === 'u' ? 4 : 2;
    let digits = '';
    while (digits.length < length) {
      const digit = yield* input.peek();
      if (digit === '') return undefined;
      if (!/[\da-f]/i.test(digit)) return `\\\\${letter}${digits}`;
      digits += input.take(1);
    }
    return `\\u${digits.padStart(4, '0')}`;
  }
  if (SHORT_ESCAPES.includes(letter)) return `\\${input.take(1)}`;
  // This quote needs no backslash; before anything else it is meant as a backslash.
  return letter === "'" ? input.take(1) : '\\\\';
}

function* readWord(input: AnswerInput, emit: (text: string) => void): Reading<JsonOutcome> {
  let word = '';
  yield* input.takeWhile(WORD, (text) => (word += text));
  const value = NUMBER.test(word) ? word : Object.hasOwn(CONSTANTS, word) ? CONSTANTS[word]! : undefined;
  if (value !== undefined) {
    emit(value);
    return 'whole';
  }
  if (word !== '' && input.isDone) return 'cut';
  input.unread(word);
  return 'bad';
}
