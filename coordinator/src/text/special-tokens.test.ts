import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Tokenizer } from '@shoal/model';
import { expect, it } from 'vitest';
import { encodeNow } from './encode-task.ts';

const dir = join(import.meta.dirname, '../../../models/tiny-stories');
const readJson = (name: string): object => JSON.parse(readFileSync(join(dir, name), 'utf8')) as object;
const tokenizerJson = readJson('tokenizer.json');
const config = readJson('tokenizer_config.json');
/** As most published models have it: only the post-processor adds the begin-of-text token. */
const postProcessor = {
  type: 'TemplateProcessing',
  single: [{ SpecialToken: { id: '<|endoftext|>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
  special_tokens: { '<|endoftext|>': { id: '<|endoftext|>', ids: [0], tokens: ['<|endoftext|>'] } },
};

function idsOf(template: string | undefined, text: string): number[] {
  const settings = { ...config, add_bos_token: undefined, ...(template !== undefined && { chat_template: template }) };
  const tokenizer = new Tokenizer({ ...tokenizerJson, post_processor: postProcessor }, settings);
  const messages = [{ role: 'user' as const, content: text }];
  const task = template === undefined ? { text, maxTokens: 100 } : { messages, maxTokens: 100 };
  const outcome = encodeNow(tokenizer, task);
  return 'ids' in outcome ? [...outcome.ids] : expect.unreachable();
}

it('begins a prompt with what the post-processor adds, and a conversation with what its template writes', () => {
  const plain = new Tokenizer(tokenizerJson, config).encode('Tom');
  expect(idsOf(undefined, 'Tom')).toEqual([0, ...plain]);
  expect(idsOf('{{ bos_token }}{{ messages[0].content }}', 'Tom')).toEqual([0, ...plain]);
  expect(idsOf('{{ messages[0].content }}', 'Tom')).toEqual(plain);
});
