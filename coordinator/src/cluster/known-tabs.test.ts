import { describe, expect, it } from 'vitest';
import type { PublishedTab, TabView } from './tab-board.ts';
import { MemoryTabBoards } from './testing/memory-tab-boards.ts';
import { tabView } from './testing/tab-view.ts';

const tab = (given: Parameters<typeof tabView>[0]): PublishedTab => ({
  peerId: given.peerId,
  view: () => tabView(given),
});
const ids = (tabs: Iterable<TabView>): string[] => [...tabs].map(({ peerId }) => peerId).toSorted();

describe('the tabs that a member knows', () => {
  it('are those that the others publish, until they leave', () => {
    const boards = new MemoryTabBoards();
    const [a, b] = [boards.board('a'), boards.board('b')];
    const seen: string[] = [];
    b.events.on('changed', ({ peerId, live }) => seen.push(`${peerId} serves ${live.size}`));
    b.events.on('gone', ({ peerId }) => seen.push(`${peerId} is gone`));
    a.publish(tab({ peerId: 'one' }));
    a.publish(tab({ peerId: 'one', live: new Set([1, 2]) }));
    expect([ids(a.remote()), ids(b.remote()), b.of('one')?.home]).toEqual([[], ['one'], 'a']);
    // A member that comes later knows them as well.
    expect(ids(boards.board('c').remote())).toEqual(['one']);
    a.withdraw('one');
    expect(ids(b.remote())).toEqual([]);
    expect(seen).toEqual(['one serves 0', 'one serves 2', 'one is gone']);
  });

  it('are each there once: the newest visit, in whatever order the visits are read', () => {
    for (const order of [
      [1, 2],
      [2, 1],
    ]) {
      const boards = new MemoryTabBoards();
      const [a, b, c] = [boards.board('a'), boards.board('b'), boards.board('c')];
      for (const visit of order)
        (visit === 1 ? a : b).publish(tab({ peerId: `visit ${visit}`, donorId: 'ada', tab: 3, visit }));
      expect(ids(c.remote())).toEqual(['visit 2']);
      expect([c.of('visit 1'), c.ofTab('ada', 3)?.home]).toEqual([undefined, 'b']);
      // Its end brings no older one back into the count while that has not left too, and none after.
      a.withdraw('visit 1');
      expect(ids(c.remote())).toEqual(['visit 2']);
      b.withdraw('visit 2');
      expect(ids(c.remote())).toEqual([]);
    }
  });

  it('stay without a home for a while when it has ended, unless they have another', () => {
    const boards = new MemoryTabBoards();
    const [a, b, c] = [boards.board('a'), boards.board('b'), boards.board('c')];
    a.publish(tab({ peerId: 'one', donorId: 'ada' }));
    a.publish(tab({ peerId: 'two', donorId: 'bob' }));
    boards.end('a');
    b.publish(tab({ peerId: 'one again', donorId: 'ada', visit: c.ofTab('ada', 0)!.visit + 1 }));
    expect([...c.remote()].map(({ peerId, isHomeless }) => [peerId, isHomeless])).toEqual([
      ['one again', false],
      ['two', true],
    ]);
    const gone: string[] = [];
    c.events.on('gone', ({ peerId }) => gone.push(peerId));
    boards.forget('a');
    expect([gone, ids(c.remote())]).toEqual([['two'], ['one again']]);
  });
});
