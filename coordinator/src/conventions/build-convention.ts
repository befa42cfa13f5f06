import type { ChatMessage, ChatTool, ChatToolCall, TemplateTraits } from '@shoal/model';
import type { GrammarPart, GrammarSource } from '../grammar/grammar-source.ts';
import { type AnswerFormat, AnswerParser, readAnswer, type ReasoningMarks } from './answer-parser.ts';
import type { Convention, Prepared } from './convention.ts';
import type { Tool } from './output-parser.ts';

/** How a convention writes calls; how it marks off reasoning is another matter, which the model's template tells. */
export interface CallStyle {
  readonly name: string;
  readonly format: Omit<AnswerFormat, 'reasoning'>;
  /** One call under a grammar. */
  forcedCall(tool: Tool): readonly GrammarPart[];
  /** What is written between calls, and around all of them; nothing by default. */
  readonly around?: { separator: string; before?: string; after?: string };
  readonly stopTokens?: readonly string[];
  /** Calls as an answer holds them; for templates that print tools and not the calls in a conversation. */
  writeCalls?(calls: readonly ChatToolCall[]): string;
  /** Whether one answer can hold one call only. */
  readonly isSingle?: boolean;
  prepare?(messages: readonly ChatMessage[], tools: readonly ChatTool[], traits: TemplateTraits): Prepared;
}

/** The convention of models that write calls in this style, after reasoning that is marked off like this if at all. */
export function buildConvention(style: CallStyle, marks: ReasoningMarks | undefined): Convention {
  const startsInReasoning = (tail: string): boolean => marks !== undefined && tail.trimEnd().endsWith(marks.open);
  return {
    name: style.name,
    reasons: marks !== undefined,
    reasoningEnd: marks?.close,
    stopTokens: style.stopTokens ?? [],
    answerPrefix: '',
    startsInReasoning,
    optionalReasoning: (tail) =>
      marks === undefined || startsInReasoning(tail) || tail.trimEnd().endsWith(marks.close)
        ? []
        : [{ optional: [marks.open, { until: marks.close }, { choice: ['', '\n', '\n\n'] }] }],
    newParser: (options) =>
      new AnswerParser(options, (io) =>
        readAnswer(io, { ...style.format, reasoning: marks }, startsInReasoning(options.tail)),
      ),
    forcedCalls: (tools, { most }) => forcedCalls(style, tools, most),
    ...preparation(style),
  };
}

function preparation({ prepare, writeCalls }: CallStyle): Pick<Convention, 'prepare'> {
  if (prepare) return { prepare };
  if (!writeCalls) return {};
  return {
    prepare: (messages, tools, traits) => ({
      messages: traits.calls ? messages : messages.map((message) => withCalls(message, writeCalls)),
      tools,
    }),
  };
}

function withCalls(
  { tool_calls: calls, ...message }: ChatMessage,
  writeCalls: (calls: readonly ChatToolCall[]) => string,
): ChatMessage {
  return calls?.length ? { ...message, content: `${message.content ?? ''}${writeCalls(calls)}` } : message;
}

/** One call of these tools, or up to so many. */
export function forcedCalls(
  style: Pick<CallStyle, 'forcedCall' | 'around' | 'isSingle'>,
  tools: readonly Tool[],
  most: number,
): GrammarSource {
  if (tools.length === 0) throw new Error('a call is forced, and there are no tools');
  const { separator, before = '', after = '' } = style.around ?? { separator: '\n' };
  const repeat = { most: style.isSingle ? 1 : most, separator, before, after };
  return { kind: 'sequences', sequences: tools.map((tool) => style.forcedCall(tool)), repeat };
}
