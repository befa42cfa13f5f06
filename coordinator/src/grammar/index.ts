import type { TokenConstraint } from '../scheduler/token-constraint.ts';
import type { GrammarSource } from './grammar-source.ts';
export class GrammarError extends Error {
  readonly reason: 'unsupported' | 'too-large' | 'timeout' | 'full' | 'failed';
  constructor(reason: GrammarError['reason'], message: string) {
    super(message);
    this.reason = reason;
  }
}
export type * from './grammar-source.ts';
export interface Grammar {
  open(options?: { after?: string }): TokenConstraint;
}
export class Grammars {
  compile(_source: GrammarSource, _client: { signal?: AbortSignal | undefined }): Promise<Grammar> {
    return Promise.reject(new GrammarError('failed', 'stub'));
  }
  close(): void {}
}
