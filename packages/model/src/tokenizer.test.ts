import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ChatTemplate } from './chat-template.ts';
import { ModelError } from './errors.ts';
import { loadGenerationConfig, loadTokenizer } from './load-tokenizer.ts';
import { Tokenizer } from './tokenizer.ts';

const dir = join(import.meta.dirname, '../../../models/tiny-stories');
const readJson = (name: string) => JSON.parse(readFileSync(join(dir, name), 'utf8')) as Record<string, unknown>;
const tokenizerJson = readJson('tokenizer.json');
const configJson = readJson('tokenizer_config.json');
const tokenizer = new Tokenizer(tokenizerJson, configJson);

const FAMILY = '👩‍👩‍👧';

describe('Tokenizer', () => {
  it('knows its size and its special tokens', () => {
    expect(tokenizer).toMatchObject({ vocabSize: 2048, addBosToken: true, bosTokenId: 0, eosTokenId: 0 });
    expect([...tokenizer.specialTokenIds]).toEqual([0, 1, 2, 3]);
  });

  it('gives any text back, whatever its characters and spaces', () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.string({ unit: 'grapheme' }),
      fc.constantFrom(' ,. ', 'a  .', "do n't", '\ufeffx', `${FAMILY}\r\n`),
    );
    fc.assert(
      fc.property(text, (s) => {
        expect(tokenizer.decode(tokenizer.encode(s))).toBe(s);
      }),
    );
  });

  it('begins a prompt with the begin-of-text token once', () => {
    expect(tokenizer.encodePrompt('')).toEqual([0]);
    expect(tokenizer.encodePrompt('Tom')).toEqual([0, ...tokenizer.encode('Tom')]);
    expect(tokenizer.encodePrompt('<|endoftext|>Tom')).toEqual([0, ...tokenizer.encode('Tom')]);
    const without = new Tokenizer(tokenizerJson, { ...configJson, add_bos_token: false });
    expect(without.encodePrompt('Tom')).toEqual(tokenizer.encode('Tom'));
  });

  it('encodes the text of a special token as that token, and leaves it out of decoded text', () => {
    const ids = tokenizer.encode('one<|endoftext|>two');
    expect(ids).toEqual([...tokenizer.encode('one'), 0, ...tokenizer.encode('two')]);
    expect(tokenizer.decode(ids)).toBe('onetwo');
    expect(new TextDecoder().decode(tokenizer.tokenBytes(0))).toBe('<|endoftext|>');
  });

  it('knows the bytes of every token, and none for an id without one', () => {
    const ids = tokenizer.encode(` naïve ${FAMILY}`);
    const bytes = ids.flatMap((id) => [...tokenizer.tokenBytes(id)]);
    expect(bytes).toEqual([...new TextEncoder().encode(` naïve ${FAMILY}`)]);
    for (let id = 0; id < tokenizer.vocabSize; id++) expect(tokenizer.tokenBytes(id).length).toBeGreaterThan(0);
    for (const id of [2048, -1, 0.5]) expect(tokenizer.tokenBytes(id)).toHaveLength(0);
    expect(ids.map((id) => tokenizer.tokenText(id) ?? '?').join('')).toMatch(/^ na\?\?ve \?+$/);
    expect(tokenizer.tokenText(0)).toBe('<|endoftext|>');
  });

  it.each<[string, Record<string, unknown>, Record<string, unknown>]>([
    ['bad-tokenizer', { ...tokenizerJson, model: { type: 'Unigram', vocab: [] } }, configJson],
    ['bad-tokenizer', { ...tokenizerJson, added_tokens: undefined }, configJson],
    ['bad-tokenizer', { ...tokenizerJson, model: { type: 'BPE', vocab: { 日: 9 }, merges: [] } }, configJson],
    ['bad-tokenizer', { ...tokenizerJson, pre_tokenizer: { type: 'Unheard' } }, configJson],
    ['unsupported', { ...tokenizerJson, decoder: { type: 'WordPiece' } }, configJson],
    ['contradiction', tokenizerJson, { ...configJson, bos_token: '<|nothing|>' }],
    ['contradiction', tokenizerJson, { ...configJson, bos_token: null }],
    ['bad-tokenizer', tokenizerJson, { ...configJson, add_bos_token: 'yes' }],
    ['bad-template', tokenizerJson, { ...configJson, chat_template: '{% for %}' }],
  ])('refuses files with the reason %s (%#)', (reason, json, config) => {
    expect(() => new Tokenizer(json, config)).toThrow(expect.objectContaining({ name: 'ModelError', reason }) as Error);
  });
});

describe('Detokenizer', () => {
  it('lets only whole characters out, however they are split over tokens', () => {
    const ids = tokenizer.encode(`a${FAMILY}é`);
    const detokenizer = tokenizer.detokenizer();
    const pieces = ids.map((id) => detokenizer.push(id));
    expect(pieces.join('')).toBe(`a${FAMILY}é`);
    expect(pieces.filter((piece) => piece === '').length).toBeGreaterThan(5);
    for (const piece of pieces) expect(piece).not.toMatch(/\p{Surrogate}/u);
    expect(pieces.join('|')).not.toContain('\ufffd');
  });

  it('drops a character that never became whole, and begins afresh', () => {
    const ids = tokenizer.encode('👧');
    const detokenizer = tokenizer.detokenizer();
    expect(detokenizer.push(ids[0]!)).toBe('');
    expect(detokenizer.flush()).toBe('');
    expect(ids.map((id) => detokenizer.push(id)).join('')).toBe('👧');
    expect(tokenizer.decode(ids.slice(0, -1))).toBe('');
  });

  it('marks bytes that can no longer become a character', () => {
    const broken = [tokenizer.encode('👧')[0]!, ...tokenizer.encode('a')];
    expect(tokenizer.decode(broken)).toBe('\ufffda');
  });

  it('decodes a token by itself only where no character is unfinished', () => {
    // Whole characters, parts of some, and what the last test's ids would rarely put side by side.
    const parts = ['👧', 'é', '日本', ' hen', 'a', '\ufeff'].flatMap((text) => tokenizer.encode(text));
    const bytesOf = (ids: number[]): number[] => ids.flatMap((id) => [...tokenizer.tokenBytes(id)]);
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...parts)), (ids) => {
        const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
        const detokenizer = tokenizer.detokenizer();
        for (const id of ids) {
          expect(detokenizer.push(id)).toBe(decoder.decode(Uint8Array.from(bytesOf([id])), { stream: true }));
        }
      }),
    );
  });

  it('says the same in pieces as decode says at once, for any ids', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(2100)), (ids) => {
        const detokenizer = tokenizer.detokenizer();
        const text = ids.map((id) => detokenizer.push(id)).join('') + detokenizer.flush();
        expect(text).toBe(tokenizer.decode(ids));
        expect(text).not.toMatch(/\p{Surrogate}/u);
      }),
    );
  });
});

describe('chat template', () => {
  const messages = [
    { role: 'system', content: 'Be kind. ' },
    { role: 'user', content: 'Once ' },
    { role: 'assistant', content: 'upon' },
  ];

  it('of the default model strings the texts together, without the system message', () => {
    expect(tokenizer.chatTemplate!.renderChat(messages)).toBe('<|endoftext|>Once upon');
  });

  it('gets special tokens and asks for an answer', () => {
    const template = new ChatTemplate(
      '{{ bos_token }}{{ messages | length }}{% if add_generation_prompt %}:{% endif %}',
      { bos_token: '<s>' },
    );
    expect(template.renderChat(messages)).toBe('<s>3:');
  });

  it('says why it refuses messages', () => {
    const template = new ChatTemplate("{{ raise_exception('only one system message') }}");
    expect(() => template.renderChat(messages)).toThrow(/refuses these messages.*only one system message/);
    expect(() => template.renderChat(messages)).toThrow(ModelError);
  });

  it('takes the one named default where there are several, and none where there is none', () => {
    const several = [
      { name: 'tool_use', template: 'tools' },
      { name: 'default', template: 'plain' },
    ];
    expect(new Tokenizer(tokenizerJson, { ...configJson, chat_template: several }).chatTemplate!.renderChat([])).toBe(
      'plain',
    );
    const withTools = new Tokenizer(tokenizerJson, { ...configJson, chat_template: several }).chatTemplate!;
    const tools = [{ type: 'function', function: { name: 'f' } }] as const;
    expect(withTools.renderChat([], { tools })).toBe('tools');
    expect(new Tokenizer(tokenizerJson, { ...configJson, chat_template: undefined }).chatTemplate).toBeUndefined();
    const named = {
      pad_token: '<pad>',
      unk_token: null,
      extra_special_tokens: { image_token: { content: '<image>' } },
    };
    const source = '{{ eos_token }}{{ pad_token }}{{ image_token }}{{ unk_token is defined }}';
    const withTokens = new Tokenizer(tokenizerJson, { ...configJson, ...named, chat_template: source });
    expect(withTokens.chatTemplate!.renderChat([])).toBe('<|endoftext|><pad><image>False');
  });
});

describe('files beside the weights', () => {
  it('are read from a model directory, the template file first', async () => {
    const copy = await mkdtemp(join(tmpdir(), 'shoal-tokenizer-'));
    try {
      await writeFile(join(copy, 'tokenizer.json'), JSON.stringify(tokenizerJson));
      await writeFile(join(copy, 'tokenizer_config.json'), JSON.stringify(configJson));
      await writeFile(join(copy, 'chat_template.jinja'), '\ufefffrom the file,\r\nof Windows');
      expect((await loadTokenizer(copy)).chatTemplate!.renderChat([])).toBe('from the file,\nof Windows');
      expect(await loadGenerationConfig(copy)).toEqual({
        doSample: true,
        temperature: undefined,
        topP: undefined,
        topK: undefined,
        minP: undefined,
        repetitionPenalty: undefined,
        eosTokenIds: undefined,
      });
      await writeFile(join(copy, 'generation_config.json'), '{"temperature": -1}');
      await expect(loadGenerationConfig(copy)).rejects.toMatchObject({ reason: 'bad-value', key: 'temperature' });
    } finally {
      await rm(copy, { recursive: true });
    }
  });

  it('of the default model suggest how to sample', async () => {
    expect(await loadGenerationConfig(dir)).toMatchObject({
      doSample: true,
      temperature: 0.7,
      topP: 0.9,
      eosTokenIds: [0],
    });
  });

  it('are named when they are missing', async () => {
    await expect(loadTokenizer(join(dir, 'nowhere'))).rejects.toThrow(/nowhere.*tokenizer\.json/);
  });
});
