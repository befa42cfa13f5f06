import { join } from 'node:path';
import { loadTokenizer, readTokenizerFiles, tokenizerFrom } from '@shoal/model/node';
import { describe, expect, it } from 'vitest';
import { TextEncoding } from '../text/text-encoding.ts';
import { tokenizerCodec } from './codec.ts';

const TINY_STORIES = join(import.meta.dirname, '../../../models/tiny-stories');

describe('tokenizerCodec', () => {
  it('knows a model’s markers of a text with a gap, if it has all three', async () => {
    const files = await readTokenizerFiles(TINY_STORIES);
    const spec = JSON.parse(files.tokenizer.text) as { added_tokens: { id: number; content: string }[] };
    const codecWith = (names: string[]) => {
      const added = names.map((content, i) => ({ ...spec.added_tokens[0], id: 2_048 + i, content, special: true }));
      const text = JSON.stringify({ ...spec, added_tokens: [...spec.added_tokens, ...added] });
      const changed = { ...files, tokenizer: { path: 'tokenizer.json', text } };
      const tokenizer = tokenizerFrom(changed);
      return tokenizerCodec(tokenizer, new TextEncoding(tokenizer, { files: changed }));
    };
    expect(codecWith(['<|fim_prefix|>', '<|fim_middle|>', '<|fim_suffix|>']).fim).toEqual({
      prefix: '<|fim_prefix|>',
      suffix: '<|fim_suffix|>',
      middle: '<|fim_middle|>',
    });
    expect(codecWith(['<fim_prefix>', '<fim_middle>']).fim).toBeUndefined();
    const plain = await loadTokenizer(TINY_STORIES);
    const codec = tokenizerCodec(plain, new TextEncoding(plain, { files }));
    expect([codec.fim, codec.specialText(0), codec.specialText(100), codec.idOf('<|endoftext|>')]).toEqual([
      undefined,
      '<|endoftext|>',
      undefined,
      0,
    ]);
  });
});
