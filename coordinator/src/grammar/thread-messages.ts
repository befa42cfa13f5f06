import type { GrammarErrorReason } from './grammar-error.ts';
import type { GrammarSource } from './grammar-source.ts';
import type { Vocabulary } from './vocabulary.ts';

/** What the thread is started with. */
export interface GrammarThreadData {
  vocabulary: Vocabulary;
}

/** In order. Those with a `reply` are answered; grammars and sessions are named by the main thread. */
export type GrammarOrder =
  | { kind: 'compile'; reply: number; grammar: number; source: GrammarSource }
  | { kind: 'drop'; grammar: number }
  | { kind: 'open'; session: number; grammar: number; after: string; begun?: string }
  | { kind: 'accept'; session: number; token: number }
  | { kind: 'masks'; reply: number; session: number; drafts: readonly number[] }
  | { kind: 'drafts'; reply: number; session: number; drafts: readonly number[] }
  | { kind: 'close'; session: number };

/** To one order: how many instructions a grammar has, masks in shared memory, or how many drafts may come. */
export type GrammarReply = { reply: number } & (
  { value: number | (Uint32Array | undefined)[] } | { error: { reason: GrammarErrorReason; message: string } }
);
