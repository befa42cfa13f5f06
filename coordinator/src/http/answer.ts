import { randomUUID } from 'node:crypto';
import type { OutputEvent, OutputParser } from '../conventions/index.ts';
import { callArguments } from './call-arguments.ts';
import type { ChoiceDelta, OutputToken, TextPiece } from './choice.ts';
import { type AnswerEvent, type AnswerPart, PartSplitter } from './parts.ts';

export interface ToolCall {
  id: string;
  name: string;
  /** JSON, unless the answer was cut off. */
  arguments: string;
}

export interface AnswerEnd {
  reason: 'stop' | 'length' | 'tool_calls';
  /** The stop string or the token that ended it. */
  stop?: string | number;
}

/** A piece of one choice, with its parts told apart. */
export interface AnswerDelta {
  events: AnswerEvent[];
  tokens: OutputToken[];
  /** Set on the last delta, which has no events. */
  end: AnswerEnd | null;
  /** On the last delta: the texts of calls that are not in their form, and not just cut off, by the calls' ids. */
  broken?: ReadonlyMap<string, string>;
}

/** One choice, complete. */
export interface WholeAnswer {
  content: string;
  reasoning: string;
  calls: ToolCall[];
  /** The same in its order. */
  parts: AnswerPart[];
  tokens: OutputToken[];
  end: AnswerEnd;
}

export interface AnswerOptions {
  /** Undefined: all of the text is content. */
  parser: OutputParser | undefined;
  showsSpecialTokens: boolean;
  showsReasoning: boolean;
  /** Whether text that is no call is the beginning of one that was cut off, which is not shown. */
  requiresCall: boolean;
  /** Called with the number of tokens that were spent on reasoning. */
  onReasoning(tokens: number): void;
}

/** Tells the parts of a choice apart. */
export async function* runAnswer(
  deltas: AsyncIterable<ChoiceDelta>,
  options: AnswerOptions,
): AsyncGenerator<AnswerDelta> {
  const { parser, requiresCall, showsReasoning, showsSpecialTokens, onReasoning } = options;
  const ids = new CallIds();
  const broken = new Map<string, Extract<OutputEvent, { type: 'broken' }>>();
  /** The arguments of the last call. */
  let call = '';
  let last: OutputEvent['type'] | undefined;
  const shown = (events: readonly OutputEvent[]): AnswerEvent[] => {
    last = events.at(-1)?.type ?? last;
    return events.flatMap((event): AnswerEvent[] => {
      switch (event.type) {
        case 'broken':
          broken.set(ids.last!, event);
          return [];
        case 'call':
          call = '';
          return [{ ...event, id: ids.next(event.id) }];
        case 'arguments':
          call += event.text;
          return [event];
        case 'content':
          return requiresCall ? [] : [event];
        case 'reasoning':
          return showsReasoning ? [event] : [];
        default:
          return event satisfies never;
      }
    });
  };
  for await (const { pieces, tokens, end } of deltas) {
    if (end) {
      const rest = shown(parser?.finish() ?? []);
      if (rest.length > 0) yield { events: rest, tokens: [], end: null };
      const fault = ids.last === undefined ? undefined : broken.get(ids.last);
      // The rest of a call that has all of its arguments is markup.
      const isWhole = ids.last !== undefined && callArguments(call) !== undefined && (!fault || fault.isCut);
      const isStopped = end.reason === 'stop';
      // A call that a limit or a stop string cut off is given as far as it goes.
      const mayCut = !isStopped || typeof end.stop === 'string';
      const texts = [...broken]
        .filter(([, { isCut }]) => !(isCut && mayCut))
        .map(([id, { text }]) => [id, text] as const);
      yield {
        events: [],
        tokens,
        end: { ...end, reason: isStopped && isWhole ? 'tool_calls' : end.reason },
        ...(texts.length > 0 && { broken: new Map(texts) }),
      };
      return;
    }
    const events = parser ? parsed(parser, pieces) : contentOf(pieces, showsSpecialTokens);
    const isReasoning = events.length === 0 ? last === 'reasoning' : events.some(({ type }) => type === 'reasoning');
    if (isReasoning) onReasoning(tokens.length);
    yield { events: shown(events), tokens, end: null };
  }
}

function parsed(parser: OutputParser, pieces: readonly TextPiece[]): OutputEvent[] {
  return pieces.flatMap(({ text, isSpecial }) => parser.push(text, isSpecial));
}

function contentOf(pieces: readonly TextPiece[], showsSpecialTokens: boolean): OutputEvent[] {
  const shown = pieces.filter(({ isSpecial }) => showsSpecialTokens || !isSpecial);
  const text = shown.map((piece) => piece.text).join('');
  return text === '' ? [] : [{ type: 'content', text }];
}

/** The ids of an answer's calls: the model's own, unless it uses one again. */
class CallIds {
  readonly #ids = new Set<string>();
  last: string | undefined;

  next(own: string | undefined): string {
    const isFree = own !== undefined && !this.#ids.has(own);
    this.last = isFree ? own : `call_${randomUUID().replaceAll('-', '').slice(0, 24)}`;
    this.#ids.add(this.last);
    return this.last;
  }
}

export async function wholeAnswer(deltas: AsyncIterable<AnswerDelta>): Promise<WholeAnswer> {
  const splitter = new PartSplitter();
  const all: OutputToken[] = [];
  let last: AnswerEnd = { reason: 'stop' };
  let broken: AnswerDelta['broken'];
  for await (const delta of deltas) {
    splitter.push(delta.events, delta.tokens);
    // Not spread: an echoed prompt may have more tokens than a call has arguments.
    for (const token of delta.tokens) all.push(token);
    if (delta.end) last = delta.end;
    broken = delta.broken;
  }
  const parts = broken ? withoutCalls(splitter.parts, broken) : splitter.parts;
  const textOf = (type: 'content' | 'reasoning'): string =>
    parts.map((part) => (part.type === type ? part.text : '')).join('');
  const calls = parts.flatMap((part) => (part.type === 'call' ? [part] : []));
  // Those before a call that is none are as good as before.
  const end: AnswerEnd =
    broken && last.reason === 'stop' && calls.length > 0 ? { ...last, reason: 'tool_calls' } : last;
  return { content: textOf('content'), reasoning: textOf('reasoning'), calls, parts, tokens: all, end };
}

/** The parts with the texts that some calls were in their places, each a part of the text around it. */
function withoutCalls(parts: readonly AnswerPart[], texts: ReadonlyMap<string, string>): AnswerPart[] {
  const all: AnswerPart[] = [];
  for (const part of parts) {
    const text = part.type === 'call' ? texts.get(part.id) : undefined;
    const own: AnswerPart = text === undefined ? part : { type: 'content', text, tokens: [] };
    const last = all.at(-1);
    if (last?.type === 'content' && own.type === 'content') {
      all[all.length - 1] = { ...last, text: last.text + own.text, tokens: [...last.tokens, ...own.tokens] };
    } else all.push(own);
  }
  return all;
}
