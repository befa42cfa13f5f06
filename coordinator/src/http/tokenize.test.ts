import { afterEach, describe, expect, it } from 'vitest';
import { byteCodec } from './testing/byte-codec.ts';
import { startServer, type TestServer } from './testing/harness.ts';

let server: TestServer;
afterEach(() => server.app.close());

async function post(path: string, body: object): Promise<{ status: number; body: Record<string, unknown> }> {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(server.url + path, { method: 'POST', headers, body: JSON.stringify(body) });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

const BEGIN = 256;

describe('/tokenize', () => {
  it('takes a text as vLLM does, with and without /v1', async () => {
    server = await startServer({ script: () => ({ ids: [] }), maxContext: 100 });
    for (const path of ['/tokenize', '/v1/tokenize']) {
      expect((await post(path, { model: 'fake-model', prompt: 'aé' })).body).toEqual({
        count: 4,
        max_model_len: 100,
        tokens: [BEGIN, 97, 195, 169],
        token_strs: null,
      });
    }
    const { body } = await post('/tokenize', { prompt: 'a', return_token_strs: true });
    expect(body).toMatchObject({ token_strs: ['<|begin|>', 'a'] });
    expect(server.generation.submitted).toEqual([]);
  });

  it('takes a conversation, and gives the prompt that an answer would have', async () => {
    server = await startServer({ script: () => ({ ids: [] }) });
    const conversation = { messages: [{ role: 'user', content: 'Hi' }] };
    const { body } = await post('/tokenize', conversation);
    await post('/v1/chat/completions', conversation);
    expect(body.tokens).toEqual(server.generation.submitted[0]!.promptIds);
  });

  it('takes a text as llama.cpp does', async () => {
    server = await startServer({ script: () => ({ ids: [] }) });
    expect((await post('/tokenize', { content: 'ab', add_special: true })).body).toEqual({ tokens: [BEGIN, 97, 98] });
    expect((await post('/tokenize', { content: 'a', add_special: true, with_pieces: true })).body).toEqual({
      tokens: [
        { id: BEGIN, piece: '<|begin|>' },
        { id: 97, piece: 'a' },
      ],
    });
  });

  it('counts texts that are longer than the context, up to a bound', async () => {
    server = await startServer({ script: () => ({ ids: [] }), maxContext: 10 });
    expect((await post('/tokenize', { prompt: 'x'.repeat(20_000) })).body).toMatchObject({ count: 20_001 });
    const { status, body } = await post('/tokenize', { prompt: 'x'.repeat(200_000) });
    expect([status, body]).toMatchObject([
      400,
      { error: { param: 'prompt', message: expect.stringContaining('131072') } },
    ]);
  });
});

describe('/detokenize', () => {
  it('gives the text of tokens, special ones too', async () => {
    server = await startServer({ script: () => ({ ids: [] }) });
    const text = '<|begin|>aé';
    expect((await post('/detokenize', { tokens: [BEGIN, 97, 195, 169] })).body).toEqual({
      prompt: text,
      content: text,
    });
    expect((await post('/v1/detokenize', { tokens: [] })).body).toEqual({ prompt: '', content: '' });
  });

  it('leaves out the space that a tokenizer puts in front', async () => {
    server = await startServer({ script: () => ({ ids: [] }) }, { codec: { ...byteCodec(), dropsFirstSpace: true } });
    const { body } = await post('/detokenize', { tokens: [32, 32, 97] });
    expect(body.prompt).toBe(' a');
  });

  it('gives back what was tokenized', async () => {
    server = await startServer({ script: () => ({ ids: [] }) });
    const text = 'Zwölf Boxkämpfer 🦊 jagen\n'.repeat(500);
    const { body } = await post('/tokenize', { prompt: text, add_special_tokens: false });
    const tokens = (body.tokens as number[]).slice(1);
    expect((await post('/detokenize', { tokens })).body.prompt).toBe(text);
  });
});
