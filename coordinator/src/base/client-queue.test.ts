import { describe, expect, it } from 'vitest';
import { networksOf } from '../base/address.ts';
import { ClientQueue, type Origin } from './client-queue.ts';

const [ONE, TWO, THREE]: Origin[] = ['one', 'two', 'three'].map((key): Origin => [{ key, share: 1 }]) as never;
const from = (address: string): Origin => networksOf(address) as never;

describe('ClientQueue', () => {
  const takeAll = (queue: ClientQueue<string>): string => {
    let all = '';
    for (let item = queue.take(); item !== undefined; item = queue.take()) all += item;
    return all;
  };

  it('takes clients in turn, and each one’s items in order', () => {
    const queue = new ClientQueue<string>({ maxItems: 10, maxOfShare: 10 });
    for (const item of ['a', 'b', 'c']) queue.add(ONE!, item);
    queue.add(TWO!, 'X');
    queue.add(THREE!, '1');
    expect(takeAll(queue)).toBe('aX1bc');
  });

  it('gives no client more than its share', () => {
    const queue = new ClientQueue<string>({ maxItems: 3, maxOfShare: 2 });
    expect([queue.add(ONE!, 'a'), queue.add(ONE!, 'b')]).toEqual([undefined, undefined]);
    expect(queue.add(ONE!, 'c')).toEqual({ refused: 'share-full' });
    queue.take();
    expect(queue.add(ONE!, 'c')).toBeUndefined();
    expect(takeAll(queue)).toBe('bc');
  });

  it('gives a client with less the place of the newest of the client with most', () => {
    const queue = new ClientQueue<string>({ maxItems: 4, maxOfShare: 4 });
    for (const item of ['a', 'b', 'c']) queue.add(ONE!, item);
    queue.add(TWO!, 'X');
    expect(queue.add(TWO!, 'Y')).toEqual({ displaced: 'c' });
    // Nobody has less than another would have then.
    expect(queue.add(TWO!, 'Z')).toEqual({ refused: 'full' });
    expect(queue.add(ONE!, 'd')).toEqual({ refused: 'full' });
    expect(queue.add(THREE!, '1')).toEqual({ displaced: 'Y' });
    expect(takeAll(queue)).toBe('aX1b');
  });

  it('keeps a place for everybody, however many addresses send as much as they may', () => {
    const queue = new ClientQueue<string>({ maxItems: 128, maxOfShare: 16 });
    for (let host = 1; host <= 20; host++) {
      for (let text = 0; text < 16; text++) queue.add(from(`192.0.2.${host}`), `${host}`);
    }
    expect(queue.add(from('198.51.100.7'), 'honest')).toMatchObject({ displaced: expect.any(String) as string });
    for (let turn = 0; turn <= 20; turn++) {
      if (queue.take() === 'honest') return;
    }
    expect.fail('the honest text was not among the first of each client');
  });

  it('counts the networks of a home together', () => {
    const queue = new ClientQueue<string>({ maxItems: 128, maxOfShare: 16 });
    const addFromEach = (address: (part: string) => string): number => {
      let taken = 0;
      for (let subnet = 0; subnet < 16; subnet++) {
        for (let text = 0; text < 16; text++) {
          if (queue.add(from(address(subnet.toString(16))), `${subnet}`) === undefined) taken++;
        }
      }
      return taken;
    };
    expect(addFromEach((subnet) => `2001:db8:1:a::${subnet}`)).toBe(16);
    expect(addFromEach((subnet) => `2001:db8:2:a0${subnet}::1`)).toBe(32);
    expect(addFromEach((subnet) => `2001:db8:3:${subnet}00::1`)).toBe(64);
  });

  it('forgets an item that nobody waits for, and makes room', () => {
    const queue = new ClientQueue<string>({ maxItems: 2, maxOfShare: 2 });
    queue.add(ONE!, 'a');
    queue.add(ONE!, 'b');
    queue.remove(ONE!, 'a');
    queue.remove(ONE!, 'a');
    queue.remove(TWO!, 'b');
    expect(queue.add(TWO!, 'X')).toBeUndefined();
    expect(takeAll(queue)).toBe('bX');
  });
});
