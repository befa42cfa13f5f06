import { expect, it } from 'vitest';
import type { RemoteTab } from '../cluster/tab-board.ts';
import { tabView } from '../cluster/testing/tab-view.ts';
import { RemotePlannedTab } from './guided-tab.ts';

const view = (given: Partial<RemoteTab>): RemoteTab => ({
  ...tabView({ peerId: 'tab-1' }),
  home: 'c-1',
  isHomeless: false,
  ...given,
});
const set = (...experts: number[]): Set<number> => new Set(experts);

it('a remote tab is counted on only for what no order since has taken away', () => {
  const tab = new RemotePlannedTab(view({ assigned: set(1, 2, 3), live: set(1, 2) }), 7);
  expect([tab.assigned, tab.live]).toEqual([set(1, 2, 3), set(1, 2)]);
  tab.assign(set(1, 4));
  const first = tab.order(10, false)!;
  expect(first).toMatchObject({ home: 'c-1', regime: 7, peerId: 'tab-1', assigned: set(1, 4) });
  // Given back before its home has carried out the first order: expert 2 will have to be loaded again.
  tab.assign(set(1, 2, 4));
  tab.order(11, false);
  tab.update(view({ assigned: set(1, 2, 3), live: set(1, 2, 3), order: 0 }));
  expect([tab.assigned, tab.live]).toEqual([set(1, 2, 4), set(1)]);
  tab.update(view({ assigned: set(1, 4), live: set(1, 4), order: 10 }));
  expect([tab.assigned, tab.live]).toEqual([set(1, 2, 4), set(1, 4)]);
  tab.update(view({ assigned: set(1, 2, 4), live: set(1, 2, 4), order: 11 }));
  expect(tab.live).toEqual(set(1, 2, 4));
});

it('a remote tab is ordered what it lacks, once, and again where its home could not do it', () => {
  const tab = new RemotePlannedTab(view({}), 1);
  expect(tab.order(1, false)).toBeUndefined();
  // A tab that the plan has nothing for is told so.
  expect(tab.order(1, true)).toMatchObject({ number: 1, assigned: set() });
  expect(tab.order(2, true)).toBeUndefined();
  tab.target = set(5);
  tab.assign(set(5));
  expect(tab.order(2, false)).toMatchObject({ number: 2, assigned: set(5), target: set(5) });
  expect(tab.order(3, false)).toBeUndefined();
  // Its donor had paused it when the order came.
  tab.update(view({ order: 2, state: 'paused' }));
  expect([tab.assigned, tab.takesPart]).toEqual([set(), false]);
  tab.update(view({ order: 2, state: 'loading' }));
  tab.assign(set(5));
  expect(tab.order(3, false)).toMatchObject({ number: 3, assigned: set(5) });
});
