import type { AnswerEvents } from './answer-events.ts';
import type { AnswerInput } from './answer-input.ts';
import type { Tool } from './output-parser.ts';

/** What a reader reads, where it puts what it finds, and what it knows. */
export interface AnswerIo {
  input: AnswerInput;
  events: AnswerEvents;
  tools: readonly Tool[];
}

/** `none`: no call began. `broken`: a call began, and what follows is not in its form or not there. */
export type CallOutcome = 'whole' | 'none' | 'broken';
