import type { TokenConstraint } from '../token-constraint.ts';
import { VOCAB } from './hash-engine.ts';

/** Whether a token may follow the tokens of an answer. */
export type Rule = (answer: readonly number[], tokenId: number) => boolean;

/** A constraint by a rule of the answer so far, which answers in a later turn or as late as it is told, and notes its use. */
export class RuleConstraint implements TokenConstraint {
  readonly accepted: number[] = [];
  closed = 0;
  /** Calls that were against the contract. */
  readonly misuses: string[] = [];
  draftsSeen = 0;
  draftsCut = 0;
  /** Of questions for masks: the length of the answer. */
  readonly masksAskedAt: number[] = [];
  readonly #allows: Rule;
  readonly #delay: () => Promise<unknown>;

  constructor(allows: Rule, delay: () => Promise<unknown> = () => new Promise(setImmediate)) {
    this.#allows = allows;
    this.#delay = delay;
  }

  async allowedDrafts(drafts: readonly number[]): Promise<number> {
    this.#use('allowedDrafts');
    this.draftsSeen += drafts.length;
    const answer = [...this.accepted];
    await this.#delay();
    let count = 0;
    while (count < drafts.length && this.#allows([...answer, ...drafts.slice(0, count)], drafts[count]!)) count++;
    this.draftsCut += drafts.length - count;
    return count;
  }

  async masks(drafts: readonly number[]): Promise<(Uint32Array | undefined)[]> {
    this.#use('masks');
    const answer = [...this.accepted];
    this.masksAskedAt.push(answer.length);
    await this.#delay();
    return Array.from({ length: drafts.length + 1 }, (_, i) => this.maskAfter([...answer, ...drafts.slice(0, i)]));
  }

  /** Undefined where all tokens may come. */
  maskAfter(answer: readonly number[]): Uint32Array | undefined {
    // What is behind the vocabulary means nothing.
    let word = ~0 << VOCAB;
    for (let tokenId = 0; tokenId < VOCAB; tokenId++) if (this.#allows(answer, tokenId)) word |= 1 << tokenId;
    return word === ~0 ? undefined : Uint32Array.of(word);
  }

  accept(tokenId: number): void {
    this.#use('accept');
    if (!this.#allows(this.accepted, tokenId)) this.misuses.push(`${tokenId} was not allowed`);
    this.accepted.push(tokenId);
  }

  close(): void {
    this.closed++;
  }

  #use(call: string): void {
    if (this.closed > 0) this.misuses.push(`${call} after close`);
  }
}
