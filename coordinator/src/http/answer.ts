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
  /** `tool_calls` only if the last call is whole: programs run it then. */
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
  /** The arguments of the last call. */
  let call: string | undefined;
  let last: OutputEvent['type'] | undefined;
  const shown = (events: readonly OutputEvent[]): AnswerEvent[] => {
    last = events.at(-1)?.type ?? last;
    for (const event of events) {
      if (event.type === 'call') call = '';
      else if (event.type === 'arguments') call += event.text;
    }
    const isShown = (type: OutputEvent['type']): boolean =>
      type === 'content' ? !requiresCall : type !== 'reasoning' || showsReasoning;
    return events.filter(({ type }) => isShown(type)).map(withId);
  };
  for await (const { pieces, tokens, end } of deltas) {
    if (end) {
      const rest = shown(parser?.finish() ?? []);
      if (rest.length > 0) yield { events: rest, tokens: [], end: null };
      yield {
        events: [],
        tokens,
        end: end.reason === 'stop' && callArguments(call ?? '') ? { ...end, reason: 'tool_calls' } : end,
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

function withId(event: OutputEvent): AnswerEvent {
  if (event.type !== 'call') return event;
  return { ...event, id: event.id ?? `call_${randomUUID().replaceAll('-', '').slice(0, 24)}` };
}

export async function wholeAnswer(deltas: AsyncIterable<AnswerDelta>): Promise<WholeAnswer> {
  const splitter = new PartSplitter();
  const all: OutputToken[] = [];
  let last: AnswerEnd = { reason: 'stop' };
  for await (const { events, tokens, end } of deltas) {
    splitter.push(events, tokens);
    // Not spread: an echoed prompt may have more tokens than a call has arguments.
    for (const token of tokens) all.push(token);
    if (end) last = end;
  }
  const { parts } = splitter;
  const textOf = (type: 'content' | 'reasoning'): string =>
    parts.map((part) => (part.type === type ? part.text : '')).join('');
  const calls = parts.flatMap((part) => (part.type === 'call' ? [part] : []));
  return { content: textOf('content'), reasoning: textOf('reasoning'), calls, parts, tokens: all, end: last };
}
