import type { LogitChanges } from '../logit-changes.ts';
import type { RowAnswer, TokenQuery } from '../token-query.ts';

/**
 * The tokens that a head can draft, which may be fewer than the target has. Its logits are of its own tokens, in the order of the
 * target's; all other tokens are as if their logits were −∞.
 */
export class DraftVocabulary {
  /** [size], the target's token of each; undefined where they are the same. */
  readonly #tokens: Int32Array | undefined;
  /** By the target's token. */
  readonly #own = new Map<number, number>();

  /** `tokens` are distinct. */
  constructor(tokens: Int32Array | undefined) {
    this.#tokens = tokens;
    for (const [own, token] of tokens?.entries() ?? []) this.#own.set(token, own);
  }

  /** A query about the target's tokens, as one about the head's. */
  queryOf(query: TokenQuery): TokenQuery {
    const { token } = query;
    if (!this.#tokens || typeof token === 'number') return query;
    return { ...query, token: { ...token, changes: token.changes && this.#changesOf(token.changes) } };
  }

  /** An answer with the head's tokens, as one with the target's. */
  answerOf(answer: RowAnswer): RowAnswer {
    const tokens = this.#tokens;
    if (!tokens || answer instanceof Error) return answer;
    const { topLogprobs } = answer;
    return {
      ...answer,
      tokenId: tokens[answer.tokenId]!,
      ...(topLogprobs && { topLogprobs: topLogprobs.map((top) => ({ ...top, tokenId: tokens[top.tokenId]! })) }),
    };
  }

  #changesOf({ biases, penalties }: LogitChanges): LogitChanges {
    const own = [...(biases ?? [])].flatMap(([token, bias]): [number, number][] => {
      const found = this.#own.get(token);
      return found === undefined ? [] : [[found, bias]];
    });
    const seen: number[] = [];
    for (let i = 0; i < (penalties?.seen.length ?? 0); i += 2) {
      const found = this.#own.get(penalties!.seen[i]!);
      if (found !== undefined) seen.push(found, penalties!.seen[i + 1]!);
    }
    return {
      biases: own.length > 0 ? new Map(own) : undefined,
      penalties: penalties && seen.length > 0 ? { ...penalties, seen: Int32Array.from(seen) } : undefined,
    };
  }
}
