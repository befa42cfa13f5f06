import type { Choice } from '../../adapters/adapter-chooser.ts';
import type { ServedAdapter } from '../../adapters/served-adapter.ts';
import type { OutputParser } from '../../conventions/output-parser.ts';
import type { GenerationRequest } from '../../scheduler/generation.ts';
import type { TokenConstraint } from '../../scheduler/token-constraint.ts';
import type { HttpDeps, HttpLimits } from '../deps.ts';

export interface ParsedPrompt {
  /** Of an encoder–decoder's request, its source. */
  ids: number[];
  maxTokens: number;
  /** What the answer to a source begins with. */
  answerPrefix?: readonly number[];
}

/** How an answer's text ends and what of it is shown. */
export interface TextOptions {
  stop: readonly string[];
  /** Tokens that the client named; they are told where they have ended an answer. */
  stopTokenIds: readonly number[];
  /** Stop strings are found only once the answer has this many tokens. */
  minTokens: number;
  /** Whether a stop string is part of the answer that it ends. */
  includesStop: boolean;
  /** Whether special tokens are part of the text. */
  showsSpecialTokens: boolean;
}

/** A validated request, in token ids and resolved numbers. */
export interface ParsedRequest {
  prompts: ParsedPrompt[];
  /** Answers to each prompt that are returned, and that are made: the best of these. */
  n: number;
  bestOf: number;
  seed: number;
  text: TextOptions;
  echo: boolean;
  /** Alternatives to each token that are shown; undefined: no log-probabilities. */
  topLogprobs: number | undefined;
  /** Alternatives to each token of the prompt, if the prompt's log-probabilities are asked for apart from `echo`. */
  promptLogprobs: number | undefined;
  stream: boolean;
  includeUsage: boolean;
  /** Whether every chunk of a stream has the usage so far. */
  usageInChunks: boolean;
  /** Whether the ids of prompts and answers are returned. */
  returnsTokenIds: boolean;
  /** Whether log-probabilities name tokens by their ids. */
  namesTokensById: boolean;
  /** The coordinator's choice of the adapter, where the request left that to it. */
  route: Choice<ServedAdapter> | undefined;
  /** What all choices ask of the scheduler. */
  generation: Omit<
    GenerationRequest,
    'id' | 'promptIds' | 'maxTokens' | 'seed' | 'promptLogprobs' | 'promptTopLogprobs' | 'constraint' | 'signal'
  >;
  /** Makes the constraint of one answer; undefined: the answer is free. */
  openConstraint: (() => TokenConstraint) | undefined;
  /** Tells the parts of one answer apart; undefined: all of it is content. */
  newParser: (() => OutputParser) | undefined;
  /** Whether all of the answer but its reasoning must be calls. */
  requiresCall: boolean;
  /** Whether reasoning is part of what is returned. */
  showsReasoning: boolean;
}

export type ParseDeps = Pick<
  HttpDeps,
  | 'generation'
  | 'embeddings'
  | 'codec'
  | 'defaults'
  | 'grammars'
  | 'convention'
  | 'templateTraits'
  | 'aliases'
  | 'adapters'
  | 'source'
> & { limits: HttpLimits };
