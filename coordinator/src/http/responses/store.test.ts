import { describe, expect, it, vi } from 'vitest';
import { conversationAfter, type Found, ResponseStore, type StoreLimits } from './store.ts';

const ann = { client: 'ann', scope: 'ann page' };
const eve = { client: 'eve', scope: 'eve page' };

let nowMs = 0;
const storeOf = (limits: Partial<StoreLimits> = {}) => new ResponseStore(limits, () => nowMs);

const text = (id: string, chars = 1) => ({ id, type: 'message', content: 'x'.repeat(chars) });
const response = (id: string, output = [text(`${id}-out`)]) => ({ id, output, model: 'm' });

/** Adds an answer to a question of `chars` characters. */
function add(
  store: ResponseStore,
  id: string,
  { previous, keeper = ann, chars = 1 }: { previous?: Found | undefined; keeper?: typeof ann; chars?: number } = {},
) {
  return store.add(response(id), [text(`${id}-in`, chars)], previous, keeper);
}

const ids = (found: Found | undefined) => conversationAfter(found!).map(({ id }) => id);

describe('ResponseStore', () => {
  it('finds an answer with all that it was made from', () => {
    const store = storeOf();
    add(store, 'a');
    add(store, 'b', { previous: store.find('a', ann.scope) });
    add(store, 'c', { previous: store.find('b', ann.scope) });
    expect(store.find('c', ann.scope)!.response).toEqual(response('c'));
    expect(ids(store.find('c', ann.scope))).toEqual(['a-in', 'a-out', 'b-in', 'b-out', 'c-in', 'c-out']);
    expect(store.find('c', ann.scope)!.input.map(({ id }) => id)).not.toContain('c-out');
    expect(store.reader(ann.scope).item('b-in')).toEqual(text('b-in'));
  });

  it('reads no more of items that are referred to than a conversation may have', () => {
    const store = storeOf({ conversationBytes: 10_000 });
    add(store, 'a', { chars: 1_000 });
    add(store, 'b', { chars: 1_000 });
    const parse = vi.spyOn(JSON, 'parse');
    const reader = store.reader(ann.scope);
    const read = Array.from({ length: 100 }, (_, index) => reader.item(index % 2 ? 'a-in' : 'b-in'));
    expect(parse).toHaveBeenCalledTimes(2);
    parse.mockRestore();
    // Two turns of some 1,100 bytes, and then items of some 1,050.
    expect(read.filter((item) => item !== 'too-large')).toHaveLength(7);
    expect(reader.item('nobody')).toBeUndefined();
    expect(store.reader(ann.scope).item('a-in')).toEqual(text('a-in', 1_000));
  });

  it('knows nothing of another scope', () => {
    const store = storeOf();
    add(store, 'a');
    for (const scope of [eve.scope, undefined]) {
      expect(store.find('a', scope)).toBeUndefined();
      expect(store.reader(scope).item('a-in')).toBeUndefined();
      expect(store.delete('a', scope)).toBe(false);
    }
    expect(store.find('a', ann.scope)).toBeDefined();
  });

  it('keeps what later answers went on from, and counts it until the last is gone', () => {
    const store = storeOf();
    add(store, 'a', { chars: 1000 });
    add(store, 'b', { previous: store.find('a', ann.scope) });
    expect(store.delete('a', ann.scope)).toBe(true);
    expect(store.find('a', ann.scope)).toBeUndefined();
    expect(ids(store.find('b', ann.scope))).toEqual(['a-in', 'a-out', 'b-in', 'b-out']);
    expect(store.bytes).toBeGreaterThan(1000);
    store.delete('b', ann.scope);
    expect([store.bytes, store.size, store.reader(ann.scope).item('a-in')]).toEqual([0, 0, undefined]);
  });

  it('grows with a conversation, not with its square', () => {
    const store = storeOf();
    let previous: Found | undefined;
    for (let turn = 0; turn < 50; turn++) {
      add(store, `r${turn}`, { previous, chars: 1000 });
      previous = store.find(`r${turn}`, ann.scope);
    }
    // The square would be 1.3 MB.
    expect(store.bytes).toBeLessThan(150_000);
    expect(ids(previous)).toHaveLength(100);
  });

  it('goes on from an answer that was forgotten meanwhile', () => {
    const store = storeOf();
    add(store, 'a');
    const previous = store.find('a', ann.scope);
    store.delete('a', ann.scope);
    expect(add(store, 'b', { previous })).toBe(true);
    expect(ids(store.find('b', ann.scope))).toEqual(['a-in', 'a-out', 'b-in', 'b-out']);
    store.delete('b', ann.scope);
    expect(store.bytes).toBe(0);
  });

  it('does not keep a conversation that is too large', () => {
    const store = storeOf({ conversationBytes: 3000 });
    expect(add(store, 'big', { chars: 3000 })).toBe(false);
    expect([store.bytes, store.size]).toEqual([0, 0]);
    expect(add(store, 'a', { chars: 800 })).toBe(true);
    expect(add(store, 'b', { previous: store.find('a', ann.scope), chars: 800 })).toBe(false);
    expect(store.find('a', ann.scope)).toBeDefined();
  });

  it('loses the least recently used of the client that has most', () => {
    const store = storeOf({ bytes: 40_000 });
    add(store, 'mine', { keeper: eve, chars: 1000 });
    for (let i = 0; i < 30; i++) {
      add(store, `r${i}`, { chars: 3000 });
      // Used each time, so it stays.
      expect(store.find('r0', ann.scope)).toBeDefined();
      expect(store.bytes).toBeLessThanOrEqual(40_000);
    }
    expect(store.find('mine', eve.scope)).toBeDefined();
    expect(store.find('r1', ann.scope)).toBeUndefined();
    expect(store.find('r29', ann.scope)).toBeDefined();
  });

  it('counts answers by the client that has most of them', () => {
    const store = storeOf({ entries: 10 });
    // Fewer and larger.
    for (let i = 0; i < 3; i++) add(store, `mine${i}`, { keeper: eve, chars: 10_000 });
    for (let i = 0; i < 100; i++) add(store, `r${i}`);
    expect(store.size).toBe(10);
    for (let i = 0; i < 3; i++) expect(store.find(`mine${i}`, eve.scope)).toBeDefined();
  });

  it('forgets what has not been used for long', () => {
    const store = storeOf({ keepMs: 100 });
    nowMs = 0;
    add(store, 'a');
    add(store, 'b');
    nowMs = 60;
    expect(store.find('a', ann.scope)).toBeDefined();
    nowMs = 110;
    expect(store.find('b', ann.scope)).toBeUndefined();
    store.expire();
    expect(store.size).toBe(1);
    nowMs = 160;
    store.expire();
    expect([store.bytes, store.size]).toEqual([0, 0]);
  });
});
