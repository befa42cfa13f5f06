import { AnswerEvents } from './answer-events.ts';
import { AnswerInput, type Reading } from './answer-input.ts';
import type { AnswerIo, CallOutcome } from './answer-io.ts';
import type { ParserOptions } from './convention.ts';
import type { OutputEvent, OutputParser } from './output-parser.ts';

/** How reasoning is marked off. */
export interface ReasoningMarks {
  open: string;
  close: string;
  /** Markers of calls that end reasoning as well, with models that leave out `close`. */
  alsoEndsAt?: readonly string[];
}

/** How an answer is written: reasoning, then content with calls in it. */
export interface AnswerFormat {
  reasoning?: ReasoningMarks | undefined;
  /** Texts that begin calls. */
  openers: readonly string[];
  /** Texts that end them, left out where they come on their own. */
  closers: readonly string[];
  /** Reads the calls after an opener, with `closers` that belong to them. */
  readCalls(io: AnswerIo, opener: string): Reading<CallOutcome>;
  /** Reads calls that no marker announces, at the beginning of the content. */
  readBare?(io: AnswerIo): Reading<CallOutcome>;
}

/** An `OutputParser` that is written as one reader of the whole answer. */
export class AnswerParser implements OutputParser {
  readonly #input: AnswerInput;
  readonly #events: AnswerEvents;
  readonly #reading: Reading<void>;

  constructor(
    { tools, maxCalls = Infinity, showsSpecialTokens = false }: ParserOptions,
    read: (io: AnswerIo) => Reading<void>,
  ) {
    this.#input = new AnswerInput(showsSpecialTokens);
    this.#events = new AnswerEvents(maxCalls);
    this.#reading = read({ input: this.#input, events: this.#events, tools });
    this.#reading.next();
  }

  push(text: string, isSpecial: boolean): OutputEvent[] {
    if (text === '') return [];
    this.#input.push(text, isSpecial);
    this.#reading.next();
    return this.#events.take();
  }

  finish(): OutputEvent[] {
    this.#input.end();
    this.#reading.next();
    this.#events.finish();
    return this.#events.take();
  }
}

/** Reads an answer of this format, which begins inside reasoning or not. */
export function* readAnswer(io: AnswerIo, format: AnswerFormat, startsInReasoning: boolean): Reading<void> {
  const { input, events, tools } = io;
  const marks = format.reasoning;
  if (marks && startsInReasoning) yield* readReasoning(io, marks);
  else if (marks) {
    input.record('');
    yield* input.skipSpace();
    const space = input.takeRecord();
    // Some models close what the prompt has closed already.
    if (yield* input.tryText(marks.open)) yield* readReasoning(io, marks);
    else if (yield* input.tryText(marks.close)) yield* input.skipSpace();
    else events.content(space);
  }
  if (tools.length > 0) return yield* readContent(io, format);
  while (yield* input.until([], (text) => events.content(text)));
}

function* readReasoning({ input, events }: AnswerIo, marks: ReasoningMarks): Reading<void> {
  // Some models open what the prompt has opened already.
  yield* input.skipSpace();
  yield* input.tryText(marks.open);
  const end = yield* input.until([marks.close, ...(marks.alsoEndsAt ?? [])], (text) => events.reasoning(text));
  events.endReasoning();
  if (end === marks.close) yield* input.skipSpace();
  else if (end !== undefined) input.unread(end);
}

function* readContent(io: AnswerIo, format: AnswerFormat): Reading<void> {
  const { input, events } = io;
  const markers = [...format.openers, ...format.closers];
  if (format.readBare) yield* readOrContent(io, '', format.readBare(io));
  for (;;) {
    const marker = yield* input.until(markers, (text) => events.content(text));
    if (marker === undefined) return;
    if (format.openers.includes(marker)) yield* readOrContent(io, marker, format.readCalls(io, marker));
    else if ((events.calls === 0 || events.hasBroken) && !input.wasSpecial) events.content(marker);
  }
}

/** What turns out to be no call is content. */
function* readOrContent({ input, events }: AnswerIo, opener: string, reading: Reading<CallOutcome>): Reading<void> {
  input.record(input.wasSpecial ? '' : opener);
  const outcome = yield* reading;
  const text = input.takeRecord();
  if (outcome === 'none') events.content(text);
  else if (outcome === 'broken') events.breakCall(text, input.isDone);
}
