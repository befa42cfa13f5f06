import { describe, expect, it } from 'vitest';
import { GrammarHost } from './grammar-host.ts';
import type { GrammarSource } from './grammar-source.ts';
import { byteVocabulary, THOUGHT, THOUGHT_TEXT } from './testing/byte-vocabulary.ts';
import { gbnf } from './testing/opened.ts';
import type { GrammarReply } from './thread-messages.ts';

describe('what a host keeps', () => {
  const MIB = 2 ** 20;
  /** Every mask is of a new state, which has about as many threads as there are words. */
  const wide = (words: number): GrammarSource => {
    const options = Array.from({ length: words }, (_, index) => `v "${index.toString(36)}"`).join('|');
    return gbnf(`root ::= ${options}\nv ::= "a" v "c" | "b"`);
  };

  it('is bounded, over answers and over grammars', () => {
    const host = new GrammarHost(byteVocabulary());
    let most = 0;
    let longest = 0;
    for (let grammar = 0; grammar < 12; grammar++) {
      host.obey([
        { kind: 'compile', reply: 0, grammar, source: wide(600 + grammar) },
        { kind: 'open', session: grammar, grammar, after: '' },
      ]);
      for (let count = 0; count < 150; count++) {
        const [reply] = host.obey([
          { kind: 'accept', session: grammar, token: 97 },
          { kind: 'masks', reply: 0, session: grammar, drafts: [] },
        ]);
        if (reply && !('error' in reply)) longest = Math.max(longest, count);
        most = Math.max(most, host.keptBytes);
      }
    }
    // Enough to be worth bounding: each grammar alone would keep more than 24 MiB, all of them 300.
    expect(longest).toBeGreaterThan(100);
    expect(most).toBeGreaterThan(60 * MIB);
    expect(most).toBeLessThan(170 * MIB);
  });

  it('goes with the grammar, and with an answer that has ended', () => {
    const host = new GrammarHost(byteVocabulary());
    host.obey([{ kind: 'compile', reply: 0, grammar: 1, source: { kind: 'json-object' } }]);
    const before = host.keptBytes;
    expect(before).toBeGreaterThan(0);
    host.obey([{ kind: 'open', session: 2, grammar: 1, after: THOUGHT_TEXT }]);
    const masks = { kind: 'masks', reply: 0, session: 2, drafts: [] } as const;
    host.obey([
      { kind: 'accept', session: 2, token: THOUGHT },
      masks,
      { kind: 'accept', session: 2, token: 123 },
      masks,
    ]);
    expect(host.keptBytes).toBeGreaterThan(before);
    host.obey([
      { kind: 'close', session: 2 },
      { kind: 'drop', grammar: 1 },
    ]);
    expect(host.keptBytes).toBe(0);
    // Nor does one that is refused leave anything.
    const [reply] = host.obey([{ kind: 'compile', reply: 0, grammar: 3, source: wide(40_000) }]);
    expect(reply).toMatchObject({ error: { reason: 'too-large' } });
    expect(host.keptBytes).toBe(0);
  });

  it('is bounded for what answers are in, where small ones always go on', () => {
    const host = new GrammarHost(byteVocabulary());
    host.obey([
      { kind: 'compile', reply: 0, grammar: 0, source: wide(600) },
      { kind: 'compile', reply: 0, grammar: 1, source: { kind: 'json-object' } },
    ]);
    // Each of 1,200 threads is in 90 rules: about 6 MB for an answer.
    const refused = Array.from({ length: 20 }, (_, session) => {
      host.obey([{ kind: 'open', session, grammar: 0, after: '' }]);
      for (let count = 0; count < 90; count++) host.obey([{ kind: 'accept', session, token: 97 }]);
      const [reply] = host.obey([{ kind: 'drafts', reply: 0, session, drafts: [97] }]);
      return reply && 'error' in reply ? reply.error.reason : 'none';
    });
    expect(refused.filter((reason) => reason === 'none').length).toBeGreaterThan(8);
    expect(refused.slice(-4)).toEqual(['full', 'full', 'full', 'full']);
    const [small] = host.obey([
      { kind: 'open', session: 99, grammar: 1, after: '' },
      { kind: 'accept', session: 99, token: 123 },
      { kind: 'drafts', reply: 0, session: 99, drafts: [34] },
    ]);
    expect(small).toEqual({ reply: 0, value: 1 });
  });

  it('has room for so many instructions', () => {
    const host = new GrammarHost(byteVocabulary());
    const long = (grammar: number): GrammarReply[] =>
      host.obey([
        { kind: 'compile', reply: 0, grammar, source: { kind: 'choice', choices: [`${grammar}`.repeat(60_000)] } },
      ]);
    const replies = Array.from({ length: 16 }, (_, index) => long(10 + index)[0]!);
    expect(replies.filter((reply) => 'error' in reply && reply.error.reason === 'full')).toHaveLength(4);
    host.obey([{ kind: 'drop', grammar: 10 }]);
    expect(long(99)[0]).toMatchObject({ value: 120_001 });
  });
});
