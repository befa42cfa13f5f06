import type { TokenConstraint } from '../scheduler/token-constraint.ts';
import type { GrammarSource } from './grammar-source.ts';
export type * from './grammar-source.ts';
export interface Grammar { open(options?: { after?: string }): TokenConstraint }
export interface Grammars { compile(source: GrammarSource, client: { signal?: AbortSignal | undefined }): Promise<Grammar> }
export class GrammarError extends Error { readonly reason: 'unsupported' | 'too-large' | 'timeout' | 'full' | 'failed' = 'failed'; }
