import { describe, expect, it } from 'vitest';
import { ClientQueue } from './client-queue.ts';

describe('ClientQueue', () => {
  const takeAll = (queue: ClientQueue<string>): string => {
    let all = '';
    for (let item = queue.take(); item !== undefined; item = queue.take()) all += item;
    return all;
  };

  it('takes clients in turn, and each one’s items in order', () => {
    const queue = new ClientQueue<string>(10, 10);
    for (const item of ['a', 'b', 'c']) queue.add('one', item);
    queue.add('two', 'X');
    queue.add(undefined, '1');
    expect(takeAll(queue)).toBe('aX1bc');
  });

  it('gives no client more than its share, and nobody more than there is', () => {
    const queue = new ClientQueue<string>(3, 2);
    expect([queue.add('one', 'a'), queue.add('one', 'b'), queue.add('one', 'c')]).toEqual([
      undefined,
      undefined,
      'share-full',
    ]);
    expect([queue.add('two', 'X'), queue.add('two', 'Y')]).toEqual([undefined, 'full']);
    queue.take();
    expect(queue.add('two', 'Y')).toBeUndefined();
    expect(takeAll(queue)).toBe('XbY');
  });

  it('forgets an item that nobody waits for, and makes room', () => {
    const queue = new ClientQueue<string>(2, 2);
    queue.add('one', 'a');
    queue.add('one', 'b');
    queue.remove('one', 'a');
    queue.remove('one', 'a');
    queue.remove('two', 'b');
    expect(queue.add('two', 'X')).toBeUndefined();
    expect(takeAll(queue)).toBe('bX');
  });
});
