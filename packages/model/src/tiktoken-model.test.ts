import { describe, expect, it } from 'vitest';
import { ModelError } from './errors.ts';
import { fromTiktoken, tokenizerSource } from './tiktoken-model.ts';
import { Tokenizer } from './tokenizer.ts';

const base64 = (token: string | number[]): string => Buffer.from(token).toString('base64');
const BYTES = Array.from({ length: 256 }, (_, byte) => `${base64([byte])} ${byte}`);
const modelOf = (...lines: string[]) => ({ path: 'dir/tiktoken.model', text: [...BYTES, ...lines, ''].join('\n') });
const convert = (lines: string[], config: object = {}, source?: string) =>
  fromTiktoken(
    'tiktoken.model',
    modelOf(...lines),
    config,
    source === undefined ? undefined : { path: 'dir/tokenization.py', text: source },
  );

describe('fromTiktoken', () => {
  it('merges by rank, and takes a whole word that no merges make', () => {
    // "abc" is made of "bc", which has the lower rank, though "ab" is a token; "xyz" of nothing.
    const lines = [`${base64('bc')} 256`, `${base64('ab')} 257`, `${base64('abc')} 258`, `${base64('xyz')} 259`];
    const tokenizer = new Tokenizer(convert(lines), {});
    expect(tokenizer.encode('abc abcab xyz, xyz')).toEqual([
      258, 32, 258, 257, 32, 120, 121, 122, 44, 32, 120, 121, 122,
    ]);
    expect(tokenizer.encode('xyz')).toEqual([259]);
    expect(tokenizer.encode('<|reserved_token_260|>')).toEqual([260]);
  });

  it('names special tokens as the config does, beyond those that are reserved too', () => {
    const named = { 256: { content: '[BOS]' }, 600: { content: '<far>', special: false } };
    const tokenizer = new Tokenizer(convert([], { added_tokens_decoder: named }), { bos_token: '[BOS]' });
    expect(tokenizer).toMatchObject({ bosTokenId: 256, vocabSize: 601 });
    expect([tokenizer.specialTokenIds.has(257), tokenizer.specialTokenIds.has(600)]).toEqual([true, false]);
  });

  it('splits a text by the pattern of the Python file', () => {
    const tokenizer = new Tokenizer(
      convert([`${base64('ab')} 256`], {}, 'pat_str: str = "|".join([r"""a""", r"""[^a]+"""])'),
      {},
    );
    expect(tokenizer.encode('ab')).toEqual([97, 98]);
    const asPublished =
      'PATTERN = 1\n    pat_str = "|".join(\n        [\n            r"""a""",\n            r"""[^a]+""",\n        ]\n    )';
    expect(convert([], {}, asPublished)).toMatchObject({
      pre_tokenizer: { pretokenizers: [{ pattern: { Regex: 'a|[^a]+' } }, {}] },
    });
  });

  it.each([
    ['another form', 'pat_str = PATTERN'],
    ['items that Python takes for one', 'pat_str = "|".join([r"""a""" r"""b"""])'],
    // Each takes for ever where the file is read again from each place at which a list may begin or end.
    ['a list that does not end', `pat_str = "|".join([${'r"""a""",'.repeat(50_000)}`],
    ['a name again and again', 'pat_str '.repeat(500_000)],
    ['lines that go on', `pat_str =${' '.repeat(1_000_000)}`],
  ])('finds no pattern in %s', (_, source) => {
    expect(() => convert([], {}, source)).toThrow(/dir\/tokenization\.py: no pattern.*tokenizer\.json/);
  });

  it.each<[string, string[], RegExp]>([
    ['no rank', ['YWI='], /tiktoken\.model: line 257: expected a token in base64/],
    ['no base64', ['YW=I= 256'], /line 257/],
    ['base64 that ends early', ['YWIxx 256'], /line 257: the token is not valid base64/],
    ['a token twice', ['YWI= 256', 'YWI= 257'], /line 258: its token or its rank is there twice/],
    ['a rank twice', ['YWI= 256', 'YWJj 256'], /line 258: its token or its rank/],
    ['ranks with a hole', ['YWI= 257'], /257 tokens have ranks up to 257/],
    ['a rank beyond all bounds', ['YWI= 9999999'], /line 257: rank 9999999/],
    ['a long token', [`${base64('a'.repeat(257))} 256`], /line 257: a token of 257 bytes/],
  ])('refuses %s', (_, lines, message) => {
    expect(() => convert(lines)).toThrow(ModelError);
    expect(() => convert(lines)).toThrow(message);
  });

  it('refuses a model without all bytes, and a special token with the id of an ordinary one', () => {
    expect(() => fromTiktoken('tiktoken.model', { path: 'x', text: 'YQ== 0\n' }, {}, undefined)).toThrow(
      /no token for the byte 0/,
    );
    expect(() => convert([], { added_tokens_decoder: { 7: { content: 'x' } } })).toThrow(/added_tokens_decoder\.7/);
    expect(() => convert([], { added_tokens_decoder: { x: {} } })).toThrow(
      /tokenizer_config\.json: added_tokens_decoder/,
    );
  });
});

describe('fromTiktoken of a hy.tiktoken', () => {
  const hunyuan = (lines: string[], source?: string) =>
    fromTiktoken(
      'hy.tiktoken',
      modelOf(...lines),
      {},
      source === undefined ? undefined : { path: 'dir/tokenization_hy.py', text: source },
    );

  it('counts its lines, of which those with a token again do not count, and has special tokens after them', () => {
    const tokenizer = new Tokenizer(hunyuan([`${base64('ab')} 900`, `${base64('ab')} 901`, `${base64('cd')} 7`]), {});
    expect(tokenizer.encode('cd')).toEqual([257]);
    expect(tokenizer.encode('<|endoftext|><|pad|><|extra_0|><|extra_204|>')).toEqual([258, 262, 263, 467]);
    expect(tokenizer.vocabSize).toBe(468);
  });

  it('splits a text by the pattern of the Python file, or is refused with the file without one', () => {
    const found = hunyuan([], 'X = 1\nPAT_STR = r"""a|[^a]+"""\n# PAT_STR = r"""b"""\n');
    expect(found).toMatchObject({ pre_tokenizer: { pretokenizers: [{ pattern: { Regex: 'a|[^a]+' } }, {}] } });
    expect(() => hunyuan([], '# PAT_STR = r"""b"""\n')).toThrow(
      /dir\/tokenization_hy\.py: no pattern.*tokenizer\.json/,
    );
    expect(() => hunyuan([], 'PAT_STR = r"""b')).toThrow(/no pattern/);
  });
});

describe('tokenizerSource', () => {
  it('is a file beside the model, and no path', () => {
    const source = (name: unknown) => tokenizerSource({ auto_map: { AutoTokenizer: [name, null] } });
    expect(source('tokenization_kimi.TikTokenTokenizer')).toBe('tokenization_kimi.py');
    expect(source('../x.Y')).toBeUndefined();
    expect(source('org/name--module.Class')).toBeUndefined();
    expect(tokenizerSource({})).toBeUndefined();
  });
});
