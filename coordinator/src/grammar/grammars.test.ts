import { EventEmitter } from 'node:events';
import { setImmediate } from 'node:timers/promises';
import type { Worker } from 'node:worker_threads';
import { startTypescriptThread } from '@shoal/weights/node';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { GrammarError } from './grammar-error.ts';
import type { GrammarSource } from './grammar-source.ts';
import { Grammars, type GrammarsOptions } from './grammars.ts';
import { byteVocabulary, idsOf } from './testing/byte-vocabulary.ts';
import type { GrammarOrder, GrammarThreadData } from './thread-messages.ts';

const vocabulary = byteVocabulary();
const choice = (...choices: string[]): GrammarSource => ({ kind: 'choice', choices });

const closing: Grammars[] = [];
afterEach(async () => {
  for (const grammars of closing.splice(0)) await grammars.close();
});

/** With the threads that it starts, and the messages that they get. */
function watched(options: Partial<GrammarsOptions> = {}) {
  const threads: Worker[] = [];
  const messages: GrammarOrder[][] = [];
  const start = (data: GrammarThreadData): Worker => {
    const thread = startTypescriptThread(new URL('./grammar-thread.ts', import.meta.url), data);
    const post = thread.postMessage.bind(thread);
    vi.spyOn(thread, 'postMessage').mockImplementation((orders) => {
      messages.push(orders as GrammarOrder[]);
      post(orders);
    });
    threads.push(thread);
    return thread;
  };
  const grammars = new Grammars({ vocabulary, start, ...options });
  closing.push(grammars);
  const count = (kind: GrammarOrder['kind']): number => messages.flat().filter((order) => order.kind === kind).length;
  return { grammars, threads, messages, count };
}

/** A thread that takes orders and never answers. */
class DeafThread extends EventEmitter {
  postMessage(): void {}
  ref(): void {}
  unref(): void {}
  terminate(): Promise<number> {
    return Promise.resolve(1);
  }
}

const next = (mask: Uint32Array | undefined): string =>
  idsOf(mask, vocabulary.size)
    .map((id) => String.fromCharCode(id))
    .join('');

describe('Grammars', () => {
  it('answers for many answers of a turn in one message, and in the order of what came', async () => {
    const { grammars, messages } = watched();
    const grammar = await grammars.compile(choice('abc', 'abd', 'x'));
    const open = Array.from({ length: 16 }, () => grammar.open());
    await setImmediate();
    messages.length = 0;
    const masks = open.map(async (constraint, index) => {
      for (const token of 'abc'.slice(0, index % 3)) constraint.accept(token.charCodeAt(0));
      return next((await constraint.masks([]))[0]);
    });
    expect((await Promise.all(masks)).slice(0, 3)).toEqual(['ax', 'b', 'cd']);
    expect(messages).toHaveLength(1);
    expect(await open[0]!.allowedDrafts([...Buffer.from('abx')])).toBe(2);
    const [first, second, third, last] = await open[0]!.masks([...Buffer.from('abx')]);
    expect([first, second, third].map(next)).toEqual(['ax', 'b', 'cd']);
    expect(last).toBeUndefined();
    // Masks of equal states are the same memory.
    expect((await open[1]!.masks([]))[0]!.buffer).toBeInstanceOf(SharedArrayBuffer);
    for (const constraint of open) constraint.close();
    expect(grammars.figures).toEqual({ grammars: 1, sessions: 0 });
  });

  it('compiles a source once, keeps those in use, and compiles again what it dropped', async () => {
    const { grammars, count } = watched({ maxGrammars: 2 });
    const [a] = await Promise.all([grammars.compile(choice('a')), grammars.compile(choice('a'))]);
    expect(count('compile')).toBe(1);
    const open = a.open();
    const b = await grammars.compile(choice('b'));
    await grammars.compile(choice('c'));
    await grammars.compile(choice('d'));
    expect(grammars.figures).toEqual({ grammars: 2, sessions: 1 });
    expect(count('drop')).toBe(2);
    expect(next((await open.masks([]))[0])).toBe('a');
    await grammars.compile(choice('a'));
    expect(count('compile')).toBe(4);
    const again = b.open();
    expect(next((await again.masks([]))[0])).toBe('b');
    expect(count('compile')).toBe(5);
    open.close();
    open.close();
    again.close();
    expect(grammars.figures.sessions).toBe(0);
  });

  it('fails the answers of a thread that dies, and serves the next ones with another', async () => {
    const { grammars, threads } = watched();
    const grammar = await grammars.compile(choice('a'));
    const open = grammar.open();
    const waiting = open.masks([]);
    void threads[0]!.terminate();
    const outcome = await waiting.catch((error: unknown) => error);
    // It may have answered just before.
    if (!Array.isArray(outcome)) expect(outcome).toMatchObject({ reason: 'failed' });
    await expect.poll(() => grammars.figures.grammars).toBe(0);
    await expect(open.masks([])).rejects.toMatchObject({ name: 'GrammarError', reason: 'failed' });
    await expect(open.allowedDrafts([])).rejects.toMatchObject({ reason: 'failed' });
    open.accept(97);
    open.close();
    const another = grammar.open();
    expect(next((await another.masks([]))[0])).toBe('a');
    another.close();
    expect(threads).toHaveLength(2);
  });

  it('gives up on a thread that does not answer', async () => {
    const start = vi.fn(() => new DeafThread() as unknown as Worker);
    const { grammars } = watched({ start, timeoutMs: 5 });
    await expect(grammars.compile(choice('a'))).rejects.toMatchObject({ reason: 'timeout' });
    await expect(grammars.compile(choice('a'))).rejects.toMatchObject({ reason: 'timeout' });
    expect(start).toHaveBeenCalledTimes(2);
  });

  it('bounds what waits and what is open', async () => {
    const start = (): Worker => new DeafThread() as unknown as Worker;
    const deaf = watched({ start, bounds: { maxItems: 3, maxOfShare: 2 } }).grammars;
    const outcomes: Promise<unknown>[] = [];
    const ask = (source: string, client: string): Promise<unknown> => {
      const asked = deaf.compile(choice(source), { client }).catch((error: GrammarError) => error.reason);
      outcomes.push(asked);
      return asked;
    };
    // The first is with the thread; of the others each client may have two, and the same one counts once.
    for (const source of ['first', 'a', 'b', 'a', 'b']) void ask(source, 'one');
    expect(await ask('c', 'one')).toBe('full');
    void ask('c', 'two');
    void ask('first', 'three');
    // It makes room for a client that has fewer.
    void ask('d', 'three');
    await setImmediate();
    await deaf.close();
    expect(await Promise.all(outcomes)).toEqual([
      'failed',
      'failed',
      'full',
      'failed',
      'full',
      'full',
      'failed',
      'failed',
      'failed',
    ]);
    await expect(deaf.compile(choice('a'))).rejects.toThrow('shutting down');

    const { grammars } = watched({ maxSessions: 1 });
    const grammar = await grammars.compile(choice('a'));
    const open = grammar.open();
    expect(() => grammar.open()).toThrow('too many answers');
    open.close();
    grammar.open().close();
  });

  it('compiles no grammar that is no longer waited for', async () => {
    const { grammars, messages } = watched();
    const compiledTexts = (): string[] =>
      messages
        .flat()
        .flatMap((order) =>
          order.kind === 'compile' ? (order.source as Extract<GrammarSource, { kind: 'choice' }>).choices : [],
        );
    const hangUp = new AbortController();
    const first = grammars.compile(choice('first'));
    const left = ['a', 'b'].map((text) => grammars.compile(choice(text), { signal: hangUp.signal }));
    const shared = grammars.compile(choice('b'));
    hangUp.abort(new Error('hung up'));
    expect(await Promise.allSettled(left)).toMatchObject([{ status: 'rejected' }, { status: 'rejected' }]);
    await Promise.all([first, shared]);
    expect(compiledTexts()).toEqual(['first', 'b']);
  });

  it('opens what was dropped, also while its source waits for its turn again', async () => {
    const { grammars } = watched({ maxGrammars: 1 });
    const dropped = await grammars.compile(choice('abc'));
    await grammars.compile(choice('other'));
    const turns = [choice('long'), choice('abc')].map((source) => grammars.compile(source));
    const open = dropped.open();
    expect(next((await open.masks([]))[0])).toBe('a');
    open.close();
    await Promise.all(turns);
    expect(grammars.figures.sessions).toBe(0);
  });

  it('stops waiting when nobody does', async () => {
    const start = (): Worker => new DeafThread() as unknown as Worker;
    const { grammars } = watched({ start });
    const hangUp = new AbortController();
    const compiled = grammars.compile(choice('a'), { signal: hangUp.signal });
    hangUp.abort(new Error('hung up'));
    await expect(compiled).rejects.toThrow('hung up');
    await expect(grammars.compile(choice('a'), { signal: AbortSignal.abort(new Error('gone')) })).rejects.toThrow(
      'gone',
    );
  });

  it('refuses a source that is too large or too deep before it is sent anywhere', async () => {
    const { grammars, threads } = watched();
    let schema: object = {};
    for (let depth = 0; depth < 100_000; depth++) schema = { items: schema };
    const refused = { reason: 'too-large' };
    await expect(grammars.compile({ kind: 'json-schema', schema: schema as never })).rejects.toMatchObject(refused);
    await expect(grammars.compile(choice('x'.repeat(300_000)))).rejects.toMatchObject(refused);
    expect(threads).toHaveLength(0);
  });

  it('says what is wrong with a source, and goes on', async () => {
    const { grammars, threads } = watched();
    const source: GrammarSource = { kind: 'json-schema', schema: { not: {} } };
    await expect(grammars.compile(source)).rejects.toMatchObject({
      reason: 'unsupported',
      message: 'JSON schema: “not” at # is not supported; list what is allowed instead',
    });
    expect(grammars.figures.grammars).toBe(0);
    await grammars.compile(choice('a'));
    expect(threads).toHaveLength(1);
  });
});
