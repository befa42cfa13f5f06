import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseJson, readJson, readText, readTextIfPresent } from './json-file.ts';
import { loadGenerationConfig } from './load-tokenizer.ts';

let dir: string;
beforeAll(async () => void (dir = await mkdtemp(join(tmpdir(), 'shoal-json-'))));
afterAll(() => rm(dir, { recursive: true }));

async function written(content: string | Uint8Array): Promise<string> {
  const path = join(dir, 'file.json');
  await writeFile(path, content);
  return path;
}

describe('readJson', () => {
  it.each<[string, string | Uint8Array, unknown]>([
    ['a byte-order mark', '\ufeff{"a": 1}', { a: 1 }],
    ['lines of Windows', '{\r\n  "a": 50.0\r\n}\r\n', { a: 50 }],
    ['Python’s numbers', '{"a": NaN, "b": [Infinity, -Infinity]}', { a: Number.NaN, b: [Infinity, -Infinity] }],
    [
      'such words in strings',
      '{"NaN": "an \\"Infinity\\", NaN", "b": NaN}',
      { NaN: 'an "Infinity", NaN', b: Number.NaN },
    ],
  ])('reads %s', async (_, content, value) => expect(await readJson(await written(content))).toEqual(value));

  it.each<[string, string | Uint8Array, string]>([
    ['UTF-16', Buffer.from('\ufeff{"a": 1}', 'utf16le'), 'is UTF-16: save it as UTF-8'],
    ['UTF-16 of the other order', Buffer.from('\ufeff{"a": 1}', 'utf16le').swap16(), 'is UTF-16: save it as UTF-8'],
    ['Latin-1', Buffer.from('{"a": "\xe9"}', 'latin1'), 'is not valid UTF-8: save it as UTF-8'],
    ['nothing', '', 'not valid JSON'],
    ['what no tool writes', '{"a": NaN,}', 'not valid JSON'],
    ['NaN as a part of a word', '{"a": NaNs}', 'not valid JSON'],
  ])('refuses %s, and names the file', async (_, content, message) => {
    const path = await written(content);
    await expect(readJson(path)).rejects.toMatchObject({ name: 'ModelError', reason: 'bad-json' });
    await expect(readJson(path)).rejects.toThrow(`${path}: ${message}`);
  });

  it('tells an absent file from one that cannot be read', async () => {
    expect(await readTextIfPresent(join(dir, 'none'))).toBeUndefined();
    await expect(readTextIfPresent(dir)).rejects.toMatchObject({ reason: 'not-found' });
    expect(await readText(await written('\ufeffa'))).toBe('a');
  });

  it.each(['"\\\\', '\\"'])('takes no longer for many of %s', (quote) => {
    const text = `{"a": "${quote.repeat(300_000)}NaN\\`;
    expect(() => parseJson({ path: 'x', text })).toThrow('not valid JSON');
  });
});

describe('loadGenerationConfig', () => {
  const load = async (json: object | string) => {
    await writeFile(join(dir, 'generation_config.json'), typeof json === 'string' ? json : JSON.stringify(json));
    return loadGenerationConfig(dir);
  };
  const nothing = {
    doSample: true,
    temperature: undefined,
    topP: undefined,
    topK: undefined,
    minP: undefined,
    repetitionPenalty: undefined,
    eosTokenIds: undefined,
  };

  it('reads null as absent, and keys that it does not know as nothing', async () => {
    const nulls = Object.fromEntries(
      ['do_sample', 'temperature', 'top_p', 'top_k', 'min_p', 'repetition_penalty', 'eos_token_id'].map((key) => [
        key,
        null,
      ]),
    );
    expect(await load(nulls)).toEqual(nothing);
    expect(await load({ trust_remote_code: true, max_new_tokens: null, watermarking_config: { a: [null] } })).toEqual(
      nothing,
    );
    expect(await load('\ufeff{"length_penalty": Infinity, "guidance_scale": NaN}')).toEqual(nothing);
  });

  it('reads what published models suggest', async () => {
    const qwen = { do_sample: true, temperature: 0.7, top_p: 0.8, top_k: 20.0, repetition_penalty: 1.05, min_p: 0.05 };
    expect(await load({ ...qwen, eos_token_id: [151645, 151643] })).toEqual({
      doSample: true,
      temperature: 0.7,
      topP: 0.8,
      topK: 20,
      minP: 0.05,
      repetitionPenalty: 1.05,
      eosTokenIds: [151645, 151643],
    });
  });

  it.each([
    [{ top_k: 0 }],
    [{ top_k: -1 }],
    [{ min_p: 0 }],
    [{ repetition_penalty: 1 }],
    [{ eos_token_id: [] }],
    [{ eos_token_id: -1 }],
    [{ eos_token_id: [null, -1] }],
  ])('reads %j as no suggestion', async (json) => expect(await load(json)).toEqual(nothing));

  it('takes a temperature of 0, and ends from lists with holes', async () => {
    expect(await load({ temperature: 0, top_p: 0, eos_token_id: [7, null, 7] })).toMatchObject({
      temperature: 0,
      topP: 0,
      eosTokenIds: [7],
    });
  });

  it.each<[string, string]>([
    ['{"temperature": Infinity}', 'temperature'],
    ['{"temperature": NaN}', 'temperature'],
    ['{"temperature": "0.7"}', 'temperature'],
    ['{"top_p": 1.5}', 'top_p'],
    ['{"top_k": 2.5}', 'top_k'],
    ['{"top_k": 4294967297}', 'top_k'],
    ['{"min_p": 2}', 'min_p'],
    ['{"repetition_penalty": 0}', 'repetition_penalty'],
    ['{"eos_token_id": "</s>"}', 'eos_token_id'],
  ])('refuses %s by name', async (json, key) => {
    await expect(load(json)).rejects.toMatchObject({ reason: 'bad-value', key: expect.stringContaining(key) });
  });
});
