import { afterEach, describe, expect, it } from 'vitest';
import { startServer, type TestServer } from '../testing/harness.ts';

/** As tokens, the numbers after the bytes and the begin-of-text of the tests' codec would be; the codec's own suffice here. */
const LANGUAGES = new Map([
  ['eng_Latn', 201],
  ['fra_Latn', 202],
  ['fur_Latn', 203],
  ['deu_Latn', 204],
  ['zho_Hans', 205],
  ['zho_Hant', 206],
  ['arb_Arab', 207],
]);
const BEGIN = 256;
const MAX = 40;

let server: TestServer | undefined;
afterEach(() => server?.app.close());

async function start(languages: ReadonlyMap<string, number> = new Map()) {
  const source = { targetPrefix: [0], languages, endOfSource: 2 };
  server = await startServer({ script: () => ({ ids: [72, 105] }), maxContext: MAX }, { source });
  const { generation, url } = server;
  return async (path: string, body: object) => {
    const response = await fetch(`${url}/v1/${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    const json = (await response.json()) as { error?: { param: string; message: string }; usage?: object };
    return { status: response.status, ...json, submitted: generation.submitted.at(-1) };
  };
}

const bytes = (text: string): number[] => [...Buffer.from(text)];

describe('a prompt of an encoder–decoder', () => {
  it('is its source, whose tokens are the usage’s, and has all the room of an answer by default', async () => {
    const post = await start();
    const { submitted, usage } = await post('completions', { prompt: 'abc', return_token_ids: true });
    expect(submitted).toMatchObject({ promptIds: [BEGIN, ...bytes('abc'), 0], sourceLength: 4, maxTokens: MAX - 1 });
    expect(usage).toMatchObject({ prompt_tokens: 4, completion_tokens: 2 });
    const ids = await post('completions', { prompt: [7, 8, 9], max_tokens: 5 });
    expect(ids.submitted).toMatchObject({ promptIds: [7, 8, 9, 0], sourceLength: 3, maxTokens: 5 });
    const most = await post('completions', { prompt: Array(MAX).fill(7), max_tokens: 500 });
    expect(most.submitted).toMatchObject({ sourceLength: MAX, maxTokens: MAX - 1 });
  });

  it('is a conversation’s last message of the user', async () => {
    const post = await start();
    const messages = [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'no' },
      { role: 'assistant', content: 'yes' },
      { role: 'user', content: [{ type: 'text', text: 'ab' }] },
    ];
    const { submitted } = await post('chat/completions', { messages, max_tokens: 3 });
    expect(submitted).toMatchObject({ promptIds: [BEGIN, ...bytes('ab'), 0], sourceLength: 3, maxTokens: 3 });
    const none = await post('chat/completions', { messages: messages.slice(0, 1) });
    expect(none).toMatchObject({ status: 400, error: { param: 'messages' } });
  });

  it.each<[string, string, object, string, RegExp]>([
    ['echo', 'completions', { prompt: 'a', echo: true }, 'echo', /encoder–decoder/],
    [
      'log-probabilities of it',
      'completions',
      { prompt: 'a', prompt_logprobs: 1 },
      'prompt_logprobs',
      /reads its prompt whole/,
    ],
    ['a gap', 'completions', { prompt: 'a', suffix: 'b' }, 'suffix', /fills no gaps/],
    ['a device limit', 'completions', { prompt: 'a', shoal: { device_limit: 1 } }, 'shoal.device_limit', /whole texts/],
    [
      'a language',
      'completions',
      { prompt: 'a', shoal: { target_language: 'fra_Latn' } },
      'shoal.target_language',
      /no languages/,
    ],
    [
      'too many tokens',
      'completions',
      { prompt: Array(MAX + 1).fill(7) },
      'prompt',
      /at most 40 tokens, and the prompt has 41/,
    ],
    [
      'an answer that goes on',
      'chat/completions',
      { messages: [{ role: 'user', content: 'a' }], continue_final_message: true, add_generation_prompt: false },
      'continue_final_message',
      /anew/,
    ],
    [
      'tools',
      'chat/completions',
      { messages: [{ role: 'user', content: 'a' }], tools: [{ type: 'function', function: { name: 'f' } }] },
      'tools',
      /not taught/,
    ],
  ])('is refused with %s', async (_, path, body, param, message) => {
    const post = await start();
    expect(await post(path, body)).toMatchObject({
      status: 400,
      error: { param, message: expect.stringMatching(message) },
    });
    expect(server!.generation.submitted).toEqual([]);
  });
});

describe('a text to translate', () => {
  const asked = { source_language: 'fra_Latn', target_language: 'deu_Latn' };
  it('begins with its language and ends, and its answer begins with the other', async () => {
    const post = await start(LANGUAGES);
    const text = [BEGIN, ...bytes('ab')];
    const { submitted } = await post('completions', { prompt: 'ab', shoal: asked });
    expect(submitted).toMatchObject({ promptIds: [202, ...text, 2, 0, 204], sourceLength: 5, maxTokens: MAX - 2 });
    const named = await post('completions', { prompt: ' fra_Latn deu_Latn ab' });
    expect(named.submitted).toMatchObject({ promptIds: [202, ...text, 2, 0, 204] });
    const fromEnglish = await post('completions', { prompt: 'ab', shoal: { target_language: 'deu_Latn' } });
    expect(fromEnglish.submitted).toMatchObject({ promptIds: [201, ...text, 2, 0, 204] });
    const tokens = await post('completions', { prompt: [5, 6, 2], shoal: asked });
    expect(tokens.submitted).toMatchObject({ promptIds: [5, 6, 2, 0, 204], sourceLength: 3 });
  });

  it('has its languages in the list of models', async () => {
    await start(LANGUAGES);
    const { data } = (await (await fetch(`${server!.url}/v1/models`)).json()) as { data: object[] };
    expect(data[0]).toMatchObject({
      max_model_len: MAX,
      shoal: { tools: 'none', languages: [...LANGUAGES.keys()].toSorted() },
    });
  });

  it('keeps what only looks like a language’s code', async () => {
    const post = await start(LANGUAGES);
    const { submitted } = await post('completions', { prompt: 'xyz_Abcd ab', shoal: asked });
    expect(submitted?.promptIds).toEqual([202, BEGIN, ...bytes('xyz_Abcd ab'), 2, 0, 204]);
  });

  it.each([
    ['no language', {}, 'shoal.target_language', /Missing .*begin the text with both codes/],
    [
      'an unknown one',
      { target_language: 'fr' },
      'shoal.target_language',
      /no language "fr"\. Near ones: fra_Latn, fur_Latn/,
    ],
    [
      'one of another script',
      { target_language: 'zho_Latn' },
      'shoal.target_language',
      /Near ones: zho_Han[st], zho_Han[st]/,
    ],
    ['an unknown source', { ...asked, source_language: 'german' }, 'shoal.source_language', /no language "german"/],
  ])('is refused with %s', async (_, shoal, param, message) => {
    const post = await start(LANGUAGES);
    expect(await post('completions', { prompt: 'ab', shoal })).toMatchObject({
      status: 400,
      error: { param, message: expect.stringMatching(message) },
    });
  });
});
