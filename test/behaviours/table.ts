import type { Behaviour } from './behaviour.ts';
import { conversations } from './chat.ts';
import { completions } from './completions.ts';
import { endpoints } from './endpoints.ts';
import { errors } from './errors.ts';
import { logprobs } from './logprobs.ts';
import { messageBlocks } from './message-blocks.ts';
import { messageStreams } from './message-streams.ts';
import { messages } from './messages.ts';
import { reasoning } from './reasoning.ts';
import { responses } from './responses.ts';
import { responseState } from './response-state.ts';
import { sampling } from './sampling.ts';
import { streams } from './streams.ts';
import { structured } from './structured.ts';
import { tokens } from './tokens.ts';
import { toolCalls } from './tools.ts';

/** All behaviours, by what they are about. */
export const TOPICS: Readonly<Record<string, readonly Behaviour[]>> = {
  endpoints,
  conversations,
  completions,
  sampling,
  logprobs,
  structured,
  'tool calls': toolCalls,
  reasoning,
  streams,
  errors,
  messages,
  'message streams': messageStreams,
  'message blocks': messageBlocks,
  responses,
  'response state': responseState,
  tokens,
};

export const BEHAVIOURS: readonly Behaviour[] = Object.values(TOPICS).flat();
