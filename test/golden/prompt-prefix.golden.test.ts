import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Tokenizer } from '@shoal/model';
import { describe, expect, it } from 'vitest';

/** By test/golden/make/prompt_prefix.py: what transformers adds before and after a text. */
interface Fixture {
  tokenizer: object;
  post_processors: Record<string, object | null>;
  cases: {
    post_processor: string;
    config: { tokenizer_class: string };
    text: string;
    ids: number[];
    before: number[];
    after: number[];
  }[];
}

const path = join(import.meta.dirname, 'fixtures/prompt-prefix.json');
const { tokenizer, post_processors: processors, cases } = JSON.parse(readFileSync(path, 'utf8')) as Fixture;

const tokenizerWith = (name: string, config: object): Tokenizer =>
  new Tokenizer({ ...tokenizer, post_processor: processors[name] }, config);

describe('Tokenizer.encodePrompt', () => {
  it.each(Object.keys(processors))('begins prompts as transformers does with the post-processor "%s"', (name) => {
    const own = cases.filter((one) => one.post_processor === name);
    expect(own.length).toBeGreaterThan(0);
    for (const { config, text, ids, before } of own) {
      const made = tokenizerWith(name, config);
      expect(made.encode(text), text).toEqual(ids);
      // A prefix that is there already is not put before the text again, where transformers doubles it.
      const isThere = before.every((id, at) => ids[at] === id);
      expect(made.encodePrompt(text), `${config.tokenizer_class} ${text}`).toEqual(isThere ? ids : [...before, ...ids]);
    }
  });

  it('leaves out what comes after a text, of which the fixture has some', () => {
    expect(cases.some(({ after }) => after.length > 0)).toBe(true);
    expect(cases.some(({ before }) => before.length === 2)).toBe(true);
  });

  // As transformers 4.57.1 does it, which honours add_bos_token for the tokenizers of Llama's kind.
  it.each<[name: string, tokenizerClass: string, addBos: boolean | null, prefix: number[]]>([
    ['none', 'LlamaTokenizerFast', true, [0]],
    ['byte level', 'LlamaTokenizerFast', true, [0]],
    ['none', 'PreTrainedTokenizerFast', true, [0]],
    ['bos', 'LlamaTokenizerFast', true, [0]],
    ['bos', 'LlamaTokenizerFast', false, []],
    ['roberta', 'LlamaTokenizer', false, []],
    ['bos', 'PreTrainedTokenizerFast', false, [0]],
    ['bos', 'Qwen2Tokenizer', false, [0]],
    ['bos', 'LlamaTokenizerFast', null, [0]],
    ['none', 'Qwen2Tokenizer', false, []],
  ])('with the post-processor "%s" of a %s, add_bos_token: %s gives the prefix %j', (name, kind, addBos, prefix) => {
    const bos = { bos_token: '<|begin|>', eos_token: '<|end|>' };
    const made = tokenizerWith(name, { ...bos, tokenizer_class: kind, add_bos_token: addBos });
    expect(made.promptPrefix).toEqual(prefix);
    expect(made.addBosToken).toBe(prefix.length > 0);
    expect(made.encodePrompt('the')).toEqual([...prefix, ...made.encode('the')]);
  });

  it.each([
    [{ type: 'Unheard' }, 'post_processor'],
    [{ type: 'Sequence', processors: [processors['bert'], processors['bos']] }, 'several processors'],
    [{ type: 'TemplateProcessing', single: [], special_tokens: {} }, 'no place for the text'],
    [
      {
        type: 'TemplateProcessing',
        single: [{ SpecialToken: { id: '<x>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
        special_tokens: {},
      },
      '"<x>"',
    ],
  ])('refuses %j by name', (processor, message) => {
    expect(() => new Tokenizer({ ...tokenizer, post_processor: processor }, {})).toThrow(message);
  });
});
