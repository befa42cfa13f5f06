import { EventEmitter } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type { Worker } from 'node:worker_threads';
import { readTokenizerFiles, tokenizerFrom } from '@shoal/model/node';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { type EncodeTask, taskBytes } from './encode-task.ts';
import { ENDLESS_CHAT, ENDLESS_FILES, TINY_FILES, withTemplate } from './testing/endless-model.ts';
import { TextEncoding } from './text-encoding.ts';
import { TextThread, type TextThreadError, type TextThreadOptions } from './text-thread.ts';

const tokenizer = tokenizerFrom(TINY_FILES);

/** One run of letters. */
const letters = (count: number): string => 'enth'.repeat(count / 4);
const task = (text: string): EncodeTask => ({ text, maxTokens: 1e9 });
const ENDLESS: EncodeTask = { messages: ENDLESS_CHAT, maxTokens: 1e9 };

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

function textThread(options: Partial<TextThreadOptions> = {}): TextThread {
  const thread = new TextThread({ files: ENDLESS_FILES, ...options });
  closing.push(() => thread.close());
  return thread;
}

describe('TextEncoding of a tokenizer that normalizes', () => {
  const json = { ...(JSON.parse(TINY_FILES.tokenizer.text) as object), normalizer: { type: 'NFC' } };
  const files = { ...TINY_FILES, tokenizer: { path: 'tokenizer.json', text: JSON.stringify(json) } };
  const texts = new TextEncoding(tokenizerFrom(files), { files });
  afterAll(() => texts.close());

  it('normalizes no long text on the main thread', async () => {
    const normalize = vi.spyOn(String.prototype, 'normalize');
    const encoded = await texts.encode(task('hen e\u0301 '.repeat(1_000)), {});
    expect(normalize).not.toHaveBeenCalled();
    normalize.mockRestore();
    expect(encoded).toEqual({ ids: Uint32Array.from(tokenizer.encodePrompt('hen é '.repeat(1_000))) });
  });

  it.each([150, 3_000, 260_000])('refuses long runs of combining marks (%i of each)', async (count) => {
    const text = `a${'\u0301'.repeat(count)}${'\u0316'.repeat(count)}`;
    const fault = { reason: 'marks', message: 'more than 256 combining marks in a row' };
    expect(await texts.encode(task(text), {})).toEqual({ fault });
    const messages = [{ role: 'user' as const, content: text }];
    expect(await texts.encode({ messages, maxTokens: 1e9 }, {})).toEqual({ fault });
  });
});

describe('TextEncoding', () => {
  const texts = new TextEncoding(tokenizer, { files: TINY_FILES });
  afterAll(() => texts.close());

  it.each([10, 2_048, 2_049, 70_000])('gives the same ids on every thread (%i bytes)', async (bytes) => {
    const text = 'Once upon a time, there was a hen. '.repeat(2_100).slice(0, bytes);
    const { ids } = (await texts.encode(task(text), {})) as { ids: Uint32Array };
    expect(Array.from(ids)).toEqual(tokenizer.encodePrompt(text));
    const messages = [{ role: 'user' as const, content: text }];
    const chat = await texts.encode({ messages, maxTokens: 1e9 }, {});
    expect(chat).toEqual({ ids, tail: `<|endoftext|>${text}`.slice(-256) });
  });

  it.each([100, 10_000, 200_000])('refuses a text of too many tokens (%i bytes)', async (bytes) => {
    const fault = { reason: 'too-long', bytes };
    expect(await texts.encode({ text: 'hen '.repeat(bytes / 4), maxTokens: 20 }, {})).toEqual({ fault });
    // Its bytes alone don't tell.
    const maxTokens = tokenizer.encode(letters(bytes)).length - 1;
    expect(tokenizer.minTokens(letters(bytes))).toBeLessThan(maxTokens);
    expect(await texts.encode({ text: letters(bytes), maxTokens }, {})).toEqual({ fault });
    const messages = [{ role: 'user' as const, content: letters(bytes) }];
    // Its template begins with the begin-of-text token.
    const rendered = { ...fault, bytes: bytes + '<|endoftext|>'.length };
    expect(await texts.encode({ messages, maxTokens }, {})).toEqual({ fault: rendered });
  });

  it.each([0, 10_000, 100_000])('hands on why there is no text to tokenize (%i bytes)', async (bytes) => {
    const files = withTemplate("{{ raise_exception('no users today') }}");
    const own = new TextEncoding(tokenizerFrom(files), { files });
    closing.push(() => own.close());
    const messages = [{ role: 'user' as const, content: 'x'.repeat(bytes) }];
    expect(await own.encode({ messages, maxTokens: 9 }, {})).toEqual({
      fault: { reason: 'template', message: 'the chat template refuses these messages: no users today' },
    });
  });

  it('tokenizes only so much on the main thread, and the rest in a thread', async () => {
    let nowMs = 0;
    const own = new TextEncoding(tokenizer, { files: TINY_FILES, clock: () => nowMs });
    closing.push(() => own.close());
    const onMain = vi.spyOn(tokenizer, 'encodePrompt');
    const text = ' '.repeat(2_048);
    const all = await Promise.all(Array.from({ length: 32 }, () => own.encode(task(text), { client: 'one' })));
    expect(onMain).toHaveBeenCalledTimes(2);
    nowMs = 100;
    await own.encode(task(text), {});
    expect(onMain).toHaveBeenCalledTimes(2);
    nowMs = 130;
    await own.encode(task(text), {});
    expect(onMain).toHaveBeenCalledTimes(3);
    onMain.mockRestore();
    expect(all).toEqual(Array.from({ length: 32 }, () => ({ ids: Uint32Array.from(tokenizer.encodePrompt(text)) })));
  });

  it('tokenizes no conversation on the main thread whose template takes long or makes a long text of it', async () => {
    const files = withTemplate(
      "{{ messages[0].content | replace('x', 'hen ' * 100) }}{% for a in range(messages[0].content | length * 300) %}{% endfor %}",
    );
    const thread = new FakeWorker((worker) => worker.emit('message', { ids: Uint32Array.of(7) }));
    const start = (): Worker => thread as unknown as Worker;
    const own = new TextEncoding(tokenizerFrom(files), { files, start, clock: () => 0 });
    closing.push(() => (thread.end(), own.close()));
    const said = (content: string): EncodeTask => ({ messages: [{ role: 'user', content }], maxTokens: 1e9 });
    const henTimes = (count: number): string => 'hen '.repeat(count);
    // 400 bytes.
    const onMain = { ids: Uint32Array.from(tokenizer.encode(henTimes(100))), tail: henTimes(64) };
    expect(await own.encode(said('x'), {})).toEqual(onMain);
    expect(thread.tasks).toEqual([]);
    // 2,400 bytes: as a text, whose end is known.
    expect(await own.encode(said('xxxxxx'), {})).toEqual({ ids: Uint32Array.of(7), tail: henTimes(64) });
    expect(thread.tasks.splice(0)).toEqual([{ text: henTimes(600), addsSpecialTokens: false, maxTokens: 1e9 }]);
    // 30,300 rounds, for which the main thread does nothing more for a while.
    await own.encode(said(`x${'y'.repeat(100)}`), {});
    await own.encode(said('x'), {});
    expect(thread.tasks).toEqual([said(`x${'y'.repeat(100)}`), said('x')]);
  });

  it('counts the lines that templates make of levels within levels', () => {
    const parameters: unknown = JSON.parse(`${'['.repeat(54)}${'1,'.repeat(600)}1${']'.repeat(54)}`);
    const tools = [{ type: 'function' as const, function: { name: 'f', parameters } }];
    const messages = [{ role: 'user', content: '' }];
    const bytes = (indent?: number): number => JSON.stringify(tools, null, indent).length;
    expect(bytes()).toBeLessThan(2_000);
    expect(taskBytes({ messages, tools, maxTokens: 9 })).toBeGreaterThan(0.9 * bytes(4));
    const call = { type: 'function' as const, function: { name: 'f', arguments: JSON.stringify({ parameters }) } };
    expect(taskBytes({ messages: [{ ...messages[0]!, tool_calls: [call] }], maxTokens: 9 })).toBeGreaterThan(
      0.9 * bytes(4),
    );
    // Brackets of texts have no lines.
    const text = {
      type: 'function' as const,
      function: { name: 'f', arguments: JSON.stringify({ a: '"[{,\\'.repeat(99) }) },
    };
    expect(taskBytes({ messages: [{ ...messages[0]!, tool_calls: [text] }], maxTokens: 9 })).toBeLessThan(1_900);
  });

  it('counts the names in messages', () => {
    const messages = [{ role: 'user' as const, content: 'hen' }];
    const named = [{ ...messages[0]!, name: 'é'.repeat(512) }];
    expect(taskBytes({ messages: named, maxTokens: 9 }) - taskBytes({ messages, maxTokens: 9 })).toBe(1_024);
  });

  it('counts tools, calls with their arguments, reasoning and a client’s variables', () => {
    const messages = [{ role: 'user', content: null }];
    const size = (conversation: object): number => taskBytes({ messages, ...conversation, maxTokens: 9 });
    const long = 'é'.repeat(512);
    const tool = { type: 'function' as const, function: { name: 'f', description: long } };
    expect(size({ tools: [tool, tool] }) - size({})).toBeGreaterThan(2 * (1_024 + 256));
    expect(size({ variables: { a: long } }) - size({})).toBeGreaterThan(1_024);
    const call = { type: 'function' as const, function: { name: 'f', arguments: long } };
    expect(size({ messages: [{ ...messages[0], tool_calls: [call, call] }] }) - size({})).toBe(2 * (1_024 + 1 + 256));
    expect(size({ messages: [{ ...messages[0], reasoning_content: long }] }) - size({})).toBe(1_024);
    expect(size({ messages: [{ ...messages[0], tool_call_id: long }] }) - size({})).toBe(1_024);
  });

  it('counts that templates look through all messages for each', () => {
    const size = (count: number): number =>
      taskBytes({ messages: Array.from({ length: count }, () => ({ role: 'user', content: '' })), maxTokens: 9 });
    expect(size(8)).toBeLessThan(2_200);
    expect(size(200)).toBeGreaterThan(65_536);
  });

  it('renders tools and variables on every thread, and gives the end of the text', async () => {
    const files = withTemplate('{{ messages[0].content }} {{ tools[0].function.name }} {{ mood }}');
    const own = new TextEncoding(tokenizerFrom(files), { files });
    closing.push(() => own.close());
    for (const bytes of [10, 10_000]) {
      const content = 'hen '.repeat(bytes / 4);
      const tools = [{ type: 'function' as const, function: { name: 'feed' } }];
      const chat = { messages: [{ role: 'user', content }], tools, variables: { mood: 'glad' } };
      const text = `${content} feed glad`;
      expect(await own.encode({ ...chat, maxTokens: 1e9 }, {})).toEqual({
        ids: Uint32Array.from(tokenizer.encode(text)),
        tail: text.slice(-256),
      });
    }
  });

  it('answers texts on the main thread and in the short thread while a long one takes its time', async () => {
    const own = new TextEncoding(tokenizer, { files: ENDLESS_FILES });
    const done: string[] = [];
    const long = own.encode(ENDLESS, { client: 'one' }).catch(() => done.push('long'));
    await own.encode(task('hen'), { client: 'one' }).then(() => done.push('main'));
    await own.encode(task(letters(60_000)), { client: 'one' }).then(() => done.push('short'));
    await own.close();
    await long;
    expect(done).toEqual(['main', 'short', 'long']);
  });
});

/** Answers as it is told to, and ends when the test says so. */
class FakeWorker extends EventEmitter {
  terminated = false;
  readonly tasks: EncodeTask[] = [];
  end!: () => void;
  readonly #ended = new Promise<void>((resolve) => (this.end = resolve));
  readonly #onTask: (worker: FakeWorker) => void;
  constructor(onTask: (worker: FakeWorker) => void = () => {}) {
    super();
    this.#onTask = onTask;
  }
  ref(): void {}
  unref(): void {}
  postMessage(posted: EncodeTask): void {
    this.tasks.push(posted);
    this.#onTask(this);
  }
  terminate(): Promise<void> {
    this.terminated = true;
    return this.#ended;
  }
}

describe('TextThread', () => {
  const outcomes = (promises: Record<string, Promise<unknown>>): { done: string[]; all: Promise<unknown> } => {
    const done: string[] = [];
    const all = Object.entries(promises).map(([name, promise]) =>
      promise.then(
        () => done.push(name),
        (error: { reason?: string; message: string }) => done.push(`${name}: ${error.reason ?? error.message}`),
      ),
    );
    return { done, all: Promise.all(all) };
  };

  it('takes clients in turn', async () => {
    const thread = textThread();
    const { done, all } = outcomes({
      a1: thread.encode(task(letters(40_000)), { client: 'a' }),
      a2: thread.encode(task('x'), { client: 'a' }),
      a3: thread.encode(task('x'), { client: 'a' }),
      b1: thread.encode(task('x'), { client: 'b' }),
    });
    await all;
    expect(done).toEqual(['a1', 'a2', 'b1', 'a3']);
  });

  it('gives no client more than 16 waiting texts, and others theirs', async () => {
    const thread = textThread();
    const crowd = Array.from({ length: 18 }, () => thread.encode(task('x'), { client: 'a' }));
    await expect(crowd.at(-1)).rejects.toMatchObject({ reason: 'share-full' });
    await expect(thread.encode(task('x'), { client: 'b' })).resolves.toBeDefined();
    expect(await Promise.all(crowd.slice(0, -1))).toHaveLength(17);
  });

  it('makes room for a client with fewer texts, and counts the networks of a home together', async () => {
    const thread = textThread();
    const { done, all } = outcomes({ first: thread.encode(task(letters(40_000)), {}) });
    const waiting = new Map<string, Promise<unknown>>();
    const reasons: string[] = [];
    const send = (address: string, count: number): void => {
      for (let text = 0; text < count; text++) {
        const encoded = thread.encode(task('x'), { client: `address ${address}`, address });
        waiting.set(`${address} ${text}`, encoded);
        encoded.catch((error: TextThreadError) => reasons.push(error.reason));
      }
    };
    const sendFromHome = (home: string, subnets: number): void => {
      for (let subnet = 0; subnet < subnets; subnet++) send(`2001:db8:${home}:${subnet}00::/64`, 16);
    };
    sendFromHome('1', 5);
    await setImmediate();
    expect(reasons).toEqual(Array.from({ length: 16 }, () => 'share-full'));
    sendFromHome('2', 4);
    await setImmediate();
    // Both homes together fill the queue.
    expect(reasons.splice(0)).toHaveLength(16);
    send('192.0.2.1', 1);
    await setImmediate();
    expect(reasons).toEqual(['share-full']);
    await expect(waiting.get('192.0.2.1 0')).resolves.toBeDefined();
    await all;
    expect(done).toEqual(['first']);
  });

  it('ends a text at its deadline, and goes on with the next', async () => {
    const silent = new FakeWorker();
    const answering = new FakeWorker((worker) => worker.emit('message', { ids: new Uint32Array(1) }));
    const workers = [silent, answering];
    const thread = textThread({ timeoutMs: 20, start: () => workers.shift()! as unknown as Worker });
    const { done, all } = outcomes({ first: thread.encode(task('x'), {}), next: thread.encode(task('y'), {}) });
    await all;
    expect(done).toEqual(['first: timeout', 'next']);
    expect([silent.terminated, answering.terminated]).toEqual([true, false]);
    for (const worker of [silent, answering]) worker.end();
  });

  it('drops a text that nobody waits for, running or not', async () => {
    const thread = textThread({ abandonedMs: 10 });
    const hangUp = new AbortController();
    const { done, all } = outcomes({
      running: thread.encode(ENDLESS, { client: 'a', signal: hangUp.signal }),
      waiting: thread.encode(ENDLESS, { client: 'a', signal: hangUp.signal }),
      next: thread.encode(task('x'), { client: 'a' }),
    });
    hangUp.abort(new Error('hung up'));
    await all;
    expect(done).toEqual(['running: hung up', 'waiting: hung up', 'next']);
    await expect(thread.encode(task('x'), { signal: hangUp.signal })).rejects.toThrow('hung up');
  });

  it('needs no files once it was made', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'shoal-text-'));
    await writeFile(join(dir, 'tokenizer.json'), TINY_FILES.tokenizer.text);
    await writeFile(join(dir, 'tokenizer_config.json'), TINY_FILES.config.text);
    const files = await readTokenizerFiles(dir);
    await rm(dir, { recursive: true });
    const thread = textThread({ files });
    expect(await thread.encode(task('Once upon a time'), {})).toEqual({
      ids: Uint32Array.from(tokenizer.encodePrompt('Once upon a time')),
    });
  });

  it('starts a thread beside one that does not end, and none beside two', async () => {
    const started: FakeWorker[] = [];
    const start = (): Worker => {
      started.push(new FakeWorker());
      return started.at(-1)! as unknown as Worker;
    };
    const thread = textThread({ start, abandonedMs: 0 });
    const giveUp = async (): Promise<void> => {
      const hangUp = new AbortController();
      const text = thread.encode(task('x'), { signal: hangUp.signal });
      hangUp.abort(new Error('hung up'));
      await expect(text).rejects.toThrow('hung up');
    };
    await giveUp();
    await vi.waitFor(() => expect(started[0]!.terminated).toBe(true));
    await giveUp();
    await vi.waitFor(() => expect(started[1]!.terminated).toBe(true));
    const { done, all } = outcomes({ next: thread.encode(task('x'), {}) });
    await setImmediate();
    expect(started).toHaveLength(2);
    started[0]!.end();
    await vi.waitFor(() => expect(started).toHaveLength(3));
    expect(started[2]!.tasks).toEqual([task('x')]);
    started[2]!.emit('message', { ids: new Uint32Array(1) });
    await all;
    expect(done).toEqual(['next']);
    for (const worker of started) worker.end();
  });

  it('says what is wrong when it cannot start, and after it was closed', async () => {
    const thread = textThread({ files: { ...TINY_FILES, tokenizer: { path: 'tokenizer.json', text: '{' } } });
    await expect(thread.encode(task('x'), {})).rejects.toMatchObject({ reason: 'failed' });
    await expect(thread.encode(task('x'), {})).rejects.toThrow('tokenizer.json: not valid JSON');
    const { done, all } = outcomes({
      running: thread.encode(task('x'), {}),
      waiting: thread.encode(task('x'), {}),
    });
    await thread.close();
    await all;
    expect(done).toEqual(['waiting: failed', 'running: failed']);
    await expect(thread.encode(task('x'), {})).rejects.toThrow('shutting down');
  });
});
