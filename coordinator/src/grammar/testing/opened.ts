import { GrammarHost } from '../grammar-host.ts';
import type { GrammarSource } from '../grammar-source.ts';
import type { GrammarReply } from '../thread-messages.ts';
import { bytesOfToken, type Vocabulary } from '../vocabulary.ts';
import { byteVocabulary, END, idsOf } from './byte-vocabulary.ts';

/** One grammar on a host, without a thread. */
export class Opened {
  readonly #host: GrammarHost;
  readonly #vocabulary: Vocabulary;
  #session = 0;

  constructor(vocabulary: Vocabulary, source: GrammarSource, after = '', begun = '') {
    this.#host = new GrammarHost(vocabulary);
    this.#vocabulary = vocabulary;
    this.#ask({ kind: 'compile', reply: 0, grammar: 0, source });
    this.open(after, begun);
  }

  open(after: string, begun = ''): void {
    this.#host.obey([{ kind: 'open', session: ++this.#session, grammar: 0, after, begun }]);
  }

  accept(...tokens: (number | string)[]): this {
    for (const given of tokens)
      for (const token of typeof given === 'number' ? [given] : Buffer.from(given))
        this.#host.obey([{ kind: 'accept', session: this.#session, token }]);
    return this;
  }

  /** Texts of the allowed tokens; those of special tokens in angle brackets. */
  allowed(): string[] {
    return this.ids().map((id) => {
      const text = Buffer.from(bytesOfToken(this.#vocabulary, id)).toString('latin1');
      return this.#vocabulary.specialIds.includes(id) ? `special ${text}` : text;
    });
  }

  ids(): number[] {
    return idsOf(this.masks([])[0], this.#vocabulary.size);
  }

  masks(drafts: number[]): (Uint32Array | undefined)[] {
    return this.#ask({ kind: 'masks', reply: 0, session: this.#session, drafts }) as (Uint32Array | undefined)[];
  }

  drafts(drafts: number[]): number {
    return this.#ask({ kind: 'drafts', reply: 0, session: this.#session, drafts }) as number;
  }

  #ask(order: Parameters<GrammarHost['obey']>[0][number]): unknown {
    const [reply] = this.#host.obey([order]) as [GrammarReply];
    if ('error' in reply) throw Object.assign(new Error(reply.error.message), { reason: reply.error.reason });
    return reply.value;
  }
}

/** Whether a text is a whole answer. */
export function accepts(source: GrammarSource, text: string): boolean {
  const opened = new Opened(byteVocabulary(), source);
  const bytes = [...Buffer.from(text)];
  return opened.drafts([...bytes, END]) === bytes.length + 1;
}

export const regex = (pattern: string): GrammarSource => ({ kind: 'regex', pattern });
export const gbnf = (grammar: string): GrammarSource => ({ kind: 'gbnf', grammar });
