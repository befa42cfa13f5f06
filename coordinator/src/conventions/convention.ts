import type { ChatMessage, ChatTool, TemplateTraits } from '@shoal/model';
import type { GrammarPart, GrammarSource } from '../grammar/grammar-source.ts';
import type { OutputParser, Tool } from './output-parser.ts';

/** How a family of models writes tool calls and reasoning. */
export interface Convention {
  /** As `/v1/models` states it and an operator may choose it. */
  readonly name: string;
  /** Whether an answer may hold reasoning. */
  readonly reasons: boolean;
  /**
   * The text that ends reasoning. A grammar for the answer of a model that begins inside reasoning applies after it. Undefined:
   * a grammar applies from the first token.
   */
  readonly reasoningEnd: string | undefined;
  /** Texts of special tokens that end a turn, beside the model's own end-of-text tokens. */
  readonly stopTokens: readonly string[];
  /** Text with which an answer must begin that a grammar binds and that is not a call. */
  readonly answerPrefix: string;
  /** Whether the answer to a prompt with this end begins inside reasoning. */
  startsInReasoning(tail: string): boolean;
  /** Reasoning with which the answer to a prompt with this end may begin, before what a grammar binds; none if the prompt has it. */
  optionalReasoning(tail: string): readonly GrammarPart[];
  newParser(options: ParserOptions): OutputParser;
  /** A grammar under which the answer is one valid call or more; `most` is how many. Throws for no tools. */
  forcedCalls(tools: readonly Tool[], options: { most: number }): GrammarSource;
  /** The conversation as the model's template takes it. Only of conventions that rewrite it. */
  prepare?(messages: readonly ChatMessage[], tools: readonly ChatTool[], traits: TemplateTraits): Prepared;
}

/** What is rendered in place of a client's conversation. */
export interface Prepared {
  messages: readonly ChatMessage[];
  tools: readonly ChatTool[];
}

export interface ParserOptions {
  /** Those that may be called; without any, only reasoning is told apart, and markup of calls is content. */
  tools: readonly Tool[];
  /** The end of the rendered prompt; '' where there was none. */
  tail: string;
  /** Calls beyond this number are left out: 1 for `parallel_tool_calls: false`. Infinity by default. */
  maxCalls?: number | undefined;
  /** Whether special tokens that are no markup of the convention are given as text; left out by default. */
  showsSpecialTokens?: boolean | undefined;
}

/** A call as a whole, for what writes them. `arguments` is JSON text. */
export interface WholeCall {
  name: string;
  arguments: string;
  id?: string | undefined;
}
