import { EventEmitter } from 'node:events';
import { Tokenizer } from '@shoal/model';
import { tokenizerFrom } from '@shoal/model/node';
import { afterEach, expect, it, vi } from 'vitest';
import type { Access } from '../../coordinator/src/access/access.ts';
import { OPEN_POLICY } from '../../coordinator/src/access/policy.ts';
import { ApiKeys } from '../../coordinator/src/access/api-keys.ts';
import type { HttpAccess } from '../../coordinator/src/http/deps.ts';
import { tokenizerCodec } from '../../coordinator/src/http/index.ts';
import { startServer, type TestServer, until } from '../../coordinator/src/http/testing/harness.ts';
import { ENDLESS_CHAT, ENDLESS_FILES, TINY_FILES } from '../../coordinator/src/text/testing/endless-model.ts';
import { TextEncoding } from '../../coordinator/src/text/text-encoding.ts';

const tokenizer = tokenizerFrom(TINY_FILES);

/** Needs no keys, and takes the address from a header. */
const OPEN_ACCESS: HttpAccess = {
  keys: new ApiKeys({ policy: OPEN_POLICY, events: new EventEmitter() } as unknown as Access),
  takeShardBytes: () => 0,
  refuseMetrics: () => undefined,
  refuseOperator: () => undefined,
  addressOf: ({ headers }) => String(headers['x-address'] ?? '127.0.0.1'),
};

let server: TestServer;
let texts: TextEncoding;
afterEach(async () => {
  await texts.close();
  await server.app.close();
});

async function start(maxContext: number, files = ENDLESS_FILES, clock?: () => number) {
  const tokenizer = tokenizerFrom(files);
  texts = new TextEncoding(tokenizer, { files, ...(clock && { clock }) });
  server = await startServer(
    { script: () => ({ ids: [300, 301] }), maxContext },
    { codec: tokenizerCodec(tokenizer, texts), access: OPEN_ACCESS },
  );
  return (path: string, body: object, init: RequestInit = {}) =>
    fetch(server.url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'fake-model', max_tokens: 2, ...body }),
      ...init,
    });
}

/** One run of letters. */
const letters = (bytes: number): string => 'enth'.repeat(bytes / 4);

it('answers short prompts while a long one takes its time, and ends that when its client hangs up', async () => {
  const post = await start(10_000_000);
  const hangUp = new AbortController();
  let longOver = false;
  const long = post('/v1/chat/completions', { messages: ENDLESS_CHAT }, { signal: hangUp.signal });
  const over = long.catch(() => {}).finally(() => (longOver = true));
  for (const size of [4, 2_000, 20_000]) {
    const answer = await post('/v1/completions', { prompt: letters(size) });
    expect(answer.status).toBe(200);
    const { usage } = (await answer.json()) as { usage: { prompt_tokens: number } };
    expect(usage.prompt_tokens).toBe(tokenizer.encodePrompt(letters(size)).length);
  }
  expect(longOver).toBe(false);
  hangUp.abort();
  await over;
  // The next long one does not wait for it.
  const messages = [{ role: 'user', content: letters(80_000) }];
  expect((await post('/v1/chat/completions', { messages })).status).toBe(200);
});

it('refuses what cannot fit with one error, whether its bytes tell or its tokens', async () => {
  const post = await start(1_000);
  for (const size of [12_000, 40_000, 200_000, 1_000_000]) {
    const prompt = letters(size);
    const messages = [{ role: 'user', content: prompt }];
    const answers = [await post('/v1/completions', { prompt }), await post('/v1/chat/completions', { messages })];
    for (const [index, answer] of answers.entries()) {
      expect(answer.status).toBe(400);
      const { error } = (await answer.json()) as { error: { code: string; param: string; message: string } };
      expect(error).toMatchObject({
        code: 'context_length_exceeded',
        param: index === 0 ? 'prompt' : 'messages',
        message: `This model's maximum context length is 1000 tokens; ${size} bytes of text have more and cannot fit. Shorten it.`,
      });
    }
  }
});

it('refuses long runs of combining marks, which take the square of their length to normalize', async () => {
  const json = { ...(JSON.parse(TINY_FILES.tokenizer.text) as object), normalizer: { type: 'NFC' } };
  const files = { ...TINY_FILES, tokenizer: { path: 'tokenizer.json', text: JSON.stringify(json) } };
  const post = await start(10_000_000, files);
  for (const count of [150, 3_000, 250_000]) {
    const prompt = `a${'\u0301'.repeat(count)}${'\u0316'.repeat(count)}`;
    const messages = [{ role: 'user', content: prompt }];
    const answers = [await post('/v1/completions', { prompt }), await post('/v1/chat/completions', { messages })];
    for (const [index, answer] of answers.entries()) {
      expect(answer.status).toBe(400);
      const param = index === 0 ? 'prompt' : 'messages';
      expect(((await answer.json()) as { error: object }).error).toMatchObject({
        param,
        message: `Invalid '${param}': the text has more than 256 combining marks in a row. Remove some of them.`,
      });
    }
  }
});

it('tokenizes the many short prompts of a request mostly in a thread', async () => {
  const prompts = Array.from({ length: 32 }, () => ' '.repeat(2_048));
  const expected = prompts.length * tokenizer.encodePrompt(prompts[0]!).length;
  const onMain = vi.spyOn(Tokenizer.prototype, 'encodePrompt');
  const post = await start(10_000, TINY_FILES, () => 0);
  const answer = await post('/v1/completions', { prompt: prompts });
  expect(answer.status).toBe(200);
  expect(((await answer.json()) as { usage: object }).usage).toMatchObject({ prompt_tokens: expected });
  expect(onMain).toHaveBeenCalledTimes(2);
  onMain.mockRestore();
});

it('has a place for one more client while networks of two homes fill the queue', async () => {
  const post = await start(10_000_000);
  const hangUp = new AbortController();
  const gone: Promise<unknown>[] = [];
  const send = (address: string, count: number): void => {
    for (let text = 0; text < count; text++) {
      const headers = { 'content-type': 'application/json', 'x-address': address };
      const answer = post('/v1/chat/completions', { messages: ENDLESS_CHAT }, { signal: hangUp.signal, headers });
      gone.push(answer.then(({ status }) => statuses.push(status)).catch(() => {}));
    }
  };
  const statuses: number[] = [];
  const waitForStatuses = (count: number): Promise<void> => until(() => statuses.length === count);
  send('192.0.2.1', 1);
  for (const home of [1, 2]) {
    for (const subnet of [0, 1, 2, 3, 4]) send(`2001:db8:${home}:${subnet}00::/64`, 16);
    // 64 of each home wait.
    await waitForStatuses(16 * home);
  }
  // One of theirs has to make room.
  send('192.0.2.2', 1);
  await waitForStatuses(33);
  expect(new Set(statuses)).toEqual(new Set([429]));
  hangUp.abort();
  await Promise.all(gone);
});
