import { loadTokenizer } from '@shoal/model/node';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { GrammarSource } from './grammar-source.ts';
import { Grammars } from './grammars.ts';
import { bytesOfToken, vocabularyOf } from './vocabulary.ts';

const tokenizer = await loadTokenizer(join(import.meta.dirname, '../../../models/tiny-stories'));
const END = tokenizer.eosTokenId!;
/** Larger than the tokenizer's, as some models' are. */
const SIZE = tokenizer.vocabSize + 37;
const vocabulary = vocabularyOf(tokenizer, SIZE, [END]);

const grammars = new Grammars({ vocabulary });
afterAll(() => grammars.close());

const allowed = (mask: Uint32Array | undefined): number[] =>
  Array.from({ length: SIZE }, (_, id) => id).filter((id) => !mask || (mask[id >> 5]! >>> (id & 31)) & 1);
const textOf = (id: number): string => (id === END ? '<end>' : Buffer.from(bytesOfToken(vocabulary, id)).toString());

async function nextTexts(source: GrammarSource, written: string, after?: string): Promise<string[]> {
  const constraint = (await grammars.compile(source)).open({ after });
  try {
    for (const id of tokenizer.encode(written)) constraint.accept(id);
    const [mask] = await constraint.masks([]);
    return allowed(mask).map(textOf).sort();
  } finally {
    constraint.close();
  }
}

describe('Grammars', () => {
  it('smoke', async () => {
    expect(await nextTexts({ kind: 'choice', choices: ['yes', 'no'] }, '')).toEqual(['n', 'y']);
    expect(await nextTexts({ kind: 'choice', choices: ['yes', 'no'] }, 'no')).toEqual(['<end>']);
    const schema = { type: 'object', properties: { a: { type: 'integer', minimum: 3, maximum: 17 } }, required: ['a'] };
    console.log(await nextTexts({ kind: 'json-schema', schema }, ''));
    console.log(await nextTexts({ kind: 'json-schema', schema }, '{"a":'));
    console.log(await nextTexts({ kind: 'json-schema', schema }, '{"a":1'));
    console.log(await nextTexts({ kind: 'json-schema', schema }, '{"a":17'));
    console.log(await nextTexts({ kind: 'json-schema', schema }, '{"a":17}'));
    console.log(await nextTexts({ kind: 'json-schema', schema }, 'I think.</think>\n', '</think>'));
  });
});
