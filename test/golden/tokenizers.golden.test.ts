import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Tokenizer } from '@shoal/model';
import { loadTokenizer } from '@shoal/model/node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

interface Fixture {
  tokenizers: Record<string, { json: object; ids: Record<string, number[]> }>;
  tiktoken: TiktokenFixture;
  hunyuan: TiktokenFixture;
}

interface TiktokenFixture {
  model: string;
  config: object;
  source: string;
  ids: Record<string, number[]>;
}

const path = join(import.meta.dirname, 'fixtures/tokenizers.json');
const { tokenizers, tiktoken, hunyuan } = JSON.parse(await readFile(path, 'utf8')) as Fixture;

describe.each(Object.entries(tokenizers))('%s', (_, { json, ids }) => {
  const tokenizer = new Tokenizer(json, {});

  it('gives the ids that Python’s tokenizers gives', () => {
    for (const [text, expected] of Object.entries(ids)) expect(tokenizer.encode(text), text).toEqual(expected);
  });
});

describe('tiktoken.model', () => {
  let dir: string;
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'tiktoken-'));
    await writeFile(join(dir, 'tiktoken.model'), tiktoken.model);
    await writeFile(join(dir, 'tokenizer_config.json'), JSON.stringify(tiktoken.config));
  });
  afterAll(() => rm(dir, { recursive: true }));

  it.each([
    ['with', tiktoken.source],
    ['without', undefined],
  ])('%s its Python file gives the ids that tiktoken gives', async (_with, source) => {
    if (source !== undefined) await writeFile(join(dir, 'tokenization_small.py'), source);
    else await rm(join(dir, 'tokenization_small.py'), { force: true });
    const tokenizer = await loadTokenizer(dir);
    for (const [text, expected] of Object.entries(tiktoken.ids)) {
      expect(tokenizer.encode(text), text).toEqual(expected);
      expect(tokenizer.decode(expected)).toBe(
        text.replace(/\[BOS\]|\[EOS\]|<\|im_end\|>|<\|reserved_token_\d+\|>/g, ''),
      );
    }
    expect(tokenizer).toMatchObject({ bosTokenId: tokenizer.idOf('[BOS]'), addBosToken: false });
  });
});

describe('hy.tiktoken', () => {
  let dir: string;
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'hunyuan-'));
    await writeFile(join(dir, 'hy.tiktoken'), hunyuan.model);
    await writeFile(join(dir, 'tokenizer_config.json'), JSON.stringify(hunyuan.config));
  });
  afterAll(() => rm(dir, { recursive: true }));

  it.each([
    ['without', undefined],
    ['with', hunyuan.source],
  ])('%s its Python file gives the ids that Hunyuan’s code gives', async (_with, source) => {
    if (source !== undefined) await writeFile(join(dir, 'tokenization_hy.py'), source);
    const tokenizer = await loadTokenizer(dir);
    for (const [text, expected] of Object.entries(hunyuan.ids)) {
      expect(tokenizer.encode(text), text).toEqual(expected);
      expect(tokenizer.decode(expected)).toBe(text.normalize('NFC').replace(/<\|(startoftext|extra_\d+|eos)\|>/g, ''));
    }
    expect(tokenizer.eosTokenId).toBe(tokenizer.idOf('<|eos|>'));
  });
});
