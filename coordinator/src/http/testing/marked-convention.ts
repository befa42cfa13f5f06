import type { Convention, OutputEvent } from '../../conventions/index.ts';
import type { OutputParser } from '../../conventions/output-parser.ts';

const MARKS = ['<think>', '</think>', '<call:', '</call>'];

/** A convention that tests can write by hand: `<think>…</think>` is reasoning, `<call:NAME>{…}</call>` is a call. */
export const markedConvention: Convention = {
  name: 'marked',
  reasons: true,
  reasoningEnd: '</think>',
  stopTokens: [],
  answerPrefix: '',
  startsInReasoning: () => false,
  optionalReasoning: () => [],
  newParser: () => new MarkedParser(),
  forcedCalls: () => ({ kind: 'json-object' }),
};

class MarkedParser implements OutputParser {
  #held = '';
  #in: 'content' | 'reasoning' | 'name' | 'arguments' = 'content';
  #calls = 0;
  #name = '';

  push(text: string): OutputEvent[] {
    this.#held += text;
    const events: OutputEvent[] = [];
    for (;;) {
      const found = MARKS.map((mark) => [this.#held.indexOf(mark), mark] as const)
        .filter(([at]) => at >= 0)
        .sort(([a], [b]) => a - b)[0];
      const nameEnd = this.#in === 'name' ? this.#held.indexOf('>') : -1;
      if (nameEnd >= 0) {
        this.#name = this.#held.slice(0, nameEnd);
        this.#held = this.#held.slice(nameEnd + 1);
        events.push({ type: 'call', index: this.#calls++, name: this.#name });
        this.#in = 'arguments';
      } else if (found) {
        const [at, mark] = found;
        events.push(...this.#text(this.#held.slice(0, at)));
        this.#held = this.#held.slice(at + mark.length);
        this.#in = mark === '<think>' ? 'reasoning' : mark === '<call:' ? 'name' : 'content';
      } else break;
    }
    const keep = this.#in === 'name' ? this.#held.length : longestPrefix(this.#held);
    events.push(...this.#text(this.#held.slice(0, this.#held.length - keep)));
    this.#held = this.#held.slice(this.#held.length - keep);
    return events;
  }

  finish(): OutputEvent[] {
    const rest = this.#held;
    this.#held = '';
    return this.#text(rest);
  }

  #text(text: string): OutputEvent[] {
    if (text === '') return [];
    switch (this.#in) {
      case 'content':
      case 'reasoning':
        return [{ type: this.#in, text }];
      case 'arguments':
        return [{ type: 'arguments', index: this.#calls - 1, text }];
      case 'name':
        return [];
      default:
        return this.#in satisfies never;
    }
  }
}

/** Characters at the end that may begin a mark. */
function longestPrefix(text: string): number {
  for (let length = Math.min(text.length, 8); length > 0; length--) {
    if (MARKS.some((mark) => mark.startsWith(text.slice(-length)))) return length;
  }
  return 0;
}
