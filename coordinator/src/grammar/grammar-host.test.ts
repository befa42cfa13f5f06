import { createRng } from '@shoal/model';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { gbnfExpression } from './gbnf.ts';
import type { GrammarSource } from './grammar-source.ts';
import { compileProgram } from './program.ts';
import { byteVocabulary, CALL, CALL_TEXT, END, idsOf, THOUGHT, THOUGHT_TEXT } from './testing/byte-vocabulary.ts';
import { accepts, gbnf, Opened, regex } from './testing/opened.ts';
import { bytesOfToken } from './vocabulary.ts';

describe('masks', () => {
  it('allow the tokens with which a text can go on, and the end where one is whole', () => {
    const texts = ['no', 'nothing', 'not', 'ing', 'hé', '\n\n'];
    const word = fc.stringMatching(/^[nothigé]{0,9}$/);
    const vocabulary = byteVocabulary(texts);
    fc.assert(
      fc.property(fc.array(word, { minLength: 1, maxLength: 20 }), fc.nat(), fc.nat(9), (choices, which, length) => {
        const written = Buffer.from(choices[which % choices.length]!).subarray(0, length);
        const opened = new Opened(vocabulary, { kind: 'choice', choices });
        const got = opened.accept(...written).ids();
        const expected = Array.from({ length: vocabulary.size }, (_, id) => id).filter((id) => {
          if (id === END) return choices.some((text) => Buffer.from(text).equals(written));
          const bytes = bytesOfToken(vocabulary, id);
          if (bytes.length === 0 || vocabulary.specialIds.includes(id)) return false;
          const longer = Buffer.concat([written, bytes]);
          return choices.some((text) => Buffer.from(text).subarray(0, longer.length).equals(longer));
        });
        expect(got).toEqual(expected);
      }),
      { numRuns: 200, seed: 1 },
    );
  });

  it('are the same for drafts as for tokens that came, and drafts are counted as masks have them', () => {
    const vocabulary = byteVocabulary(['{"a"', '":', '"}', ' "b', 'true', ', "']);
    const schema = { type: 'object', additionalProperties: { enum: ['b', true, 12] } };
    const opened = new Opened(vocabulary, { kind: 'json-schema', schema });
    const rng = createRng(3);
    for (let run = 0; run < 60; run++) {
      opened.open('');
      const drafts: number[] = [];
      let following = opened.ids();
      let count = 0;
      while (drafts.length < 12) {
        const isWrong = rng() < 0.1;
        const id = isWrong ? Math.floor(rng() * vocabulary.size) : following[Math.floor(rng() * following.length)]!;
        drafts.push(id);
        if (count === drafts.length - 1 && following.includes(id)) count++;
        if (count < drafts.length || id === END) break;
        following = idsOf(opened.masks(drafts).at(-1), vocabulary.size);
      }
      expect(opened.drafts(drafts), String(drafts)).toBe(count);
      const masks = opened.masks(drafts);
      expect(masks).toHaveLength(drafts.length + 1);
      for (const [index, draft] of drafts.slice(0, count).entries()) {
        expect(masks[index]).toEqual(opened.masks([])[0]);
        opened.accept(draft);
      }
      // Nothing is asked of what follows a wrong draft, or the end.
      if (count < drafts.length) expect(masks.at(-1)).toBeUndefined();
    }
  });

  it('allow an id without a token never, and a special token only where it is meant', () => {
    const vocabulary = byteVocabulary();
    const anything = new Opened(vocabulary, regex('(?:.|\\n)*')).ids();
    expect(anything).toContain(END);
    expect(anything).not.toContain(CALL);
    expect(Math.max(...anything)).toBe(END);
    // Bytes that are no characters.
    expect(anything).not.toContain(0xc0);
    expect(anything).not.toContain(0xf5);
    expect(anything).not.toContain(0x80);
  });

  it('fail for good once a token came that they did not allow', () => {
    const opened = new Opened(byteVocabulary(), { kind: 'choice', choices: ['yes'] }).accept('x', 'yes');
    expect(() => opened.masks([])).toThrow('token 120 came');
    expect(() => opened.drafts([])).toThrow('token 120 came');
  });

  it('ask nothing of what follows the end', () => {
    const opened = new Opened(byteVocabulary(), { kind: 'choice', choices: ['a'] }).accept('a');
    expect(opened.drafts([END, 5])).toBe(1);
    expect(opened.masks([END])[1]).toBeUndefined();
    expect(opened.accept(END, 'more').masks([])).toEqual([undefined]);
  });

  it('say so where the model has no token to go on with', () => {
    const vocabulary = byteVocabulary();
    const letters = { ...vocabulary, starts: vocabulary.starts.map((start, id) => (id <= 0x61 ? 0 : start)) };
    expect(() => new Opened(letters, { kind: 'choice', choices: ['+'] })).toThrow('no token');
  });
});

describe('sequences', () => {
  const city = { type: 'object', properties: { city: { enum: ['Rome'] } }, required: ['city'] };
  const source: GrammarSource = {
    kind: 'sequences',
    sequences: [[`${CALL_TEXT}get `, { schema: city }, ';'], ['none']],
    repeat: { most: 2, separator: ' ', before: '[', after: ']' },
  };

  it('take a literal as its special token and as text', () => {
    const opened = new Opened(byteVocabulary(), source);
    expect(opened.accept('[').allowed()).toEqual(['<', 'n', `special ${CALL_TEXT}`]);
    expect(opened.accept(CALL, 'get {"city"').allowed()).toEqual([':']);
    opened.open('');
    expect(opened.accept(`[${CALL_TEXT}get {"city":"Rome"};`).allowed()).toEqual([' ', ']']);
    expect(opened.accept(' none').allowed()).toEqual([']']);
    expect(opened.accept(']').ids()).toEqual([END]);
  });

  it('end with a token that ends answers where they name it last, and only there', () => {
    const vocabulary = { ...byteVocabulary(), endIds: [END, CALL] };
    const sequences = [
      ['x', CALL_TEXT],
      [`y${CALL_TEXT}`, 'z'],
    ];
    const opened = new Opened(vocabulary, { kind: 'sequences', sequences }).accept('x');
    expect(opened.allowed()).toEqual(['<', `special ${CALL_TEXT}`]);
    expect(opened.drafts([CALL, 5])).toBe(1);
    expect(opened.masks([CALL])[1]).toBeUndefined();
    expect(opened.accept(CALL).masks([])).toEqual([undefined]);
    opened.open('');
    expect(opened.accept('x', CALL_TEXT).ids()).toEqual([END, CALL]);
    opened.open('');
    expect(opened.accept('y').allowed()).toEqual(['<']);
    expect(opened.drafts([CALL])).toBe(0);
  });

  it('count the work for all their schemas together', () => {
    const schema = { oneOf: Array.from({ length: 120 }, (_, index) => ({ const: index })) };
    const open = (count: number): Opened =>
      new Opened(byteVocabulary(), {
        kind: 'sequences',
        sequences: Array.from({ length: count }, (_, index) => [`${index}`, { schema }]),
      });
    expect(open(3).allowed()).toEqual(['0', '1', '2']);
    expect(() => open(6)).toThrow('steps to read');
  });

  it('refuse what cannot be', () => {
    expect(() => new Opened(byteVocabulary(), { kind: 'choice', choices: ['a\ud800'] })).toThrow('surrogate');
    const make = (sequences: never[]): Opened => new Opened(byteVocabulary(), { kind: 'sequences', sequences });
    expect(() => make([])).toThrow('no sequences');
    expect(() => new Opened(byteVocabulary(), { kind: 'choice', choices: [] })).toThrow('at least one');
  });
});

describe('after a text', () => {
  const vocabulary = byteVocabulary(['think>yes', 'think>no', 'think>\n\n', 'k>']);
  const source: GrammarSource = { kind: 'choice', choices: ['yes'] };
  const id = (text: string): number =>
    Array.from({ length: vocabulary.size }, (_, at) => at).find(
      (at) => Buffer.from(bytesOfToken(vocabulary, at)).toString() === text,
    )!;

  it('everything but the end may come before it', () => {
    const opened = new Opened(vocabulary, source, THOUGHT_TEXT);
    const free = opened.ids();
    expect(free).toHaveLength(vocabulary.size - 5 - 1);
    expect(free).not.toContain(END);
    expect(opened.accept('yes </thin</').ids()).toEqual(free.filter((at) => at !== id('think>no')));
  });

  it.each([
    ['its letters', [...Buffer.from(`hm<</think>`)]],
    ['one special token', [104, THOUGHT]],
    ['white space after it', [...Buffer.from('</think>\n')]],
    ['a token that goes on after it', [...Buffer.from('</'), id('think>\n\n')]],
  ])('the grammar begins: %s', (_, tokens) => {
    const opened = new Opened(vocabulary, source, THOUGHT_TEXT).accept(...tokens);
    expect(opened.allowed().filter((text) => !/^\s+$/.test(text))).toEqual(['y']);
    expect(opened.accept('yes').ids()).toEqual([END]);
  });

  it('a token may bring its end and the grammar’s beginning', () => {
    const opened = new Opened(vocabulary, source, THOUGHT_TEXT).accept('</', id('think>yes'));
    expect(opened.ids()).toEqual([END]);
  });

  it('is found where it overlaps with itself', () => {
    for (const [marker, written] of [
      ['aab', 'aaab'],
      ['abab!', 'ababab!'],
      ['aabaaa', 'aabaabaaa'],
    ] as const)
      expect(new Opened(vocabulary, source, marker).accept(written).ids(), marker).toContain(0x79);
  });
});

describe('with a beginning', () => {
  const source: GrammarSource = {
    kind: 'json-schema',
    schema: { type: 'object', properties: { a: { type: 'integer' } } },
  };

  it('the grammar goes on from it', () => {
    const whole = new Opened(byteVocabulary(), source).accept('{"a": ');
    const begun = new Opened(byteVocabulary(), source, '', '{"a": ');
    expect(begun.ids()).toEqual(whole.ids());
    expect(begun.accept('2}').ids()).toEqual([END]);
    expect(new Opened(byteVocabulary(), source, '', '{"a": 2}').ids()).toEqual([END]);
  });

  it('it must be one of the grammar', () => {
    const opened = new Opened(byteVocabulary(), source, '', 'Sure: ');
    expect(() => opened.ids()).toThrow('not the beginning of an answer that fits');
  });
});

describe('regular expressions', () => {
  const PATTERNS = [
    '^a*b+c?$',
    '(?:ab|a)(?:c|bcd)',
    'x{2,3}?y{0}z{1,}',
    '[^a-c\\d]+',
    '[\\]\\-a]+',
    '\\w\\W\\s\\S\\d\\D',
    '^(?:a|b)$|^cc$',
    '(?<n>a)b',
    '\\u{1F600}|\\ud83d\\ude01|\\x41\\cJ|\\t',
    '.{3}',
    '(a?)*b',
    '(|a){3}',
  ];
  const alphabet = [...'aabbccdxyz01- ]\n\t\u2028é', '😀', '😁', 'A'];

  it.each(PATTERNS)('%s matches what it does in JavaScript', (pattern) => {
    const expected = new RegExp(`^(?:${pattern})$`, 'u');
    const opened = new Opened(byteVocabulary(), regex(pattern));
    const rng = createRng(5);
    const texts = ['', 'abc', 'abcd', 'acd', 'xxz', 'xxxzz', 'a \n', 'cc', 'ab', 'a- b1c', 'A\n', 'aab'];
    while (texts.length < 600)
      texts.push(
        Array.from({ length: Math.floor(rng() * 7) }, () => alphabet[Math.floor(rng() * alphabet.length)]!).join(''),
      );
    let matched = 0;
    for (const text of texts) {
      const bytes = [...Buffer.from(text)];
      const isMatch = opened.drafts([...bytes, END]) === bytes.length + 1;
      expect(isMatch, JSON.stringify(text)).toBe(expected.test(text));
      matched += isMatch ? 1 : 0;
    }
    if (!pattern.includes('\\w\\W')) expect(matched).toBeGreaterThan(0);
  });

  it.each([
    '(?=a)',
    '(?<!a)b',
    '(a)\\1',
    '\\bx',
    '\\p{L}',
    'a^',
    '*a',
    'a{3,2}',
    'a++',
    '[b-a]',
    '\\u{110000}',
    '(',
    ')',
  ])('refuses %s', (pattern) =>
    expect(() => new Opened(byteVocabulary(), regex(pattern))).toThrow(/^regular expression: /),
  );
});

describe('GBNF', () => {
  it.each([
    ['root ::= "a" | "b" # either\n', ['a', 'b'], ['', 'c']],
    ['root ::= item ("," item)*\nitem ::= [0-9]{1,3} | "\\"" [^"\\\\]* "\\""', ['1,23', '"é",4'], ['1234', '1,']],
    ['root ::=\n  "x"\n  | "y"\n  | (\n    "z"+\n  )\n', ['x', 'y', 'zz'], ['']],
    ['root ::= "\\x41\\u00e9\\U0001F600\\n" . [\\-a]?', ['Aé😀\n.-', 'Aé😀\n\n'], ['Aé😀']],
    ['root ::= "\\ud83d\\ude00" [\\u0000-\\uffff]', ['😀\uffff'], ['\ufffd\ufffda']],
    ['root ::= "(" root ")" | ""', ['', '(())'], ['(()']],
    ['expr ::= term ("+" term)*\nroot ::= expr\nterm ::= "(" expr ")" | [0-9]', ['1+(2+3)'], ['1+']],
    ['root ::= a{2,} b{,2} c{3}\na ::= "a"\nb ::= "b"\nc ::= "c"', ['aaaccc', 'aabbccc'], ['accc', 'aabbbccc']],
    ['root ::= a b\na ::= "x" | b "y"\nb ::= "q"?', ['x', 'yq', 'qy'], ['q']],
  ])('%s', (grammar, good, bad) => {
    for (const text of good) expect(accepts(gbnf(grammar), text), text).toBe(true);
    for (const text of bad) expect(accepts(gbnf(grammar), text), text).toBe(false);
  });

  it.each([
    ['a ::= "x"', 'no rule “root”'],
    ['root ::= b', 'the rule “b” is not defined'],
    ['root ::= "x', 'line 1: it ends too early'],
    ['root ::= "a"\nroot ::= "b"', 'line 2: the rule “root” is defined twice'],
    ['root ::= root "a" | "a"', 'begins with itself'],
    ['root ::= a\na ::= "b" root', 'no finite text'],
    ['root ::= a | "x"\na ::= b? root\nb ::= "b"', 'begins with itself'],
    ['root ::= <think>', 'tokens in a grammar'],
    ['root ::= "a\\ud83d"', 'line 1: half of a surrogate pair'],
    ['root ::= "\ud83d" "\ude00"', 'line 1: half of a surrogate pair'],
    ['root ::= [\\ud800-\\udfff]', 'line 1: half of a surrogate pair'],
    [`root ::= "a"{${' '.repeat(3_000)}x}`, 'a bad repetition in braces'],
    ['root ::= "\\q"', '“\\q” is no escape'],
    ['root = "a"', '“::=” is missing'],
    ['root ::= "a" )', '“)” is not expected'],
    ['root ::= "a"{1', 'ends too early'],
    [`root ::= ${'('.repeat(100)}`, 'groups in each other'],
  ])('refuses %s', (grammar, message) => {
    expect(() => new Opened(byteVocabulary(), gbnf(grammar))).toThrow(message);
  });

  it.each([
    ['s ::= "a" s t | "a"\nt ::= "b" | s', 4_000],
    ['s ::= "a" s "x" | "a" s "y" | "a" s "z" | "a"', 40],
  ])('stops where it reads a text in too many ways: %s', (rules, length) => {
    const opened = new Opened(byteVocabulary(), gbnf(`root ::= s\n${rules}`)).accept('a'.repeat(length));
    expect(() => opened.masks([])).toThrow('too many ways');
  });

  it('counts each way to the same place, and takes the same alternative once', () => {
    const letters = Array.from('abcdefghijklmnopqrstuvwxyz', (letter) => `"${letter}"`).join('|');
    const callers = Array.from({ length: 20 }, (_, index) => `x "${index}"`).join('|');
    const grammar = (option: string): GrammarSource =>
      gbnf(`root ::= ${callers}\nx ::= ${Array(400).fill(option).join('|')}`);
    // 20 × 400 × 26 ways to 20 × 26 places.
    expect(() => new Opened(byteVocabulary(), grammar(`(${letters})`))).toThrow('too many ways');
    expect(new Opened(byteVocabulary(), grammar('"a"')).allowed()).toEqual(['a']);
    const { instructions } = compileProgram(gbnfExpression(`root ::= ${Array(400).fill('"a"').join('|')}`));
    expect(instructions.map(({ op }) => op)).not.toContain('split');
  });
});
