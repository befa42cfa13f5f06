import { assignmentsOfCall, type ExpertAdapter, type ExpertAdapters, type ItemAdapters } from '@shoal/model';
import { beforeEach, describe, expect, it } from 'vitest';
import { itemAdaptersOf } from './adapted.ts';
import { assignmentNeeds } from './assignment-needs.ts';
import { LapSplitter } from './lap-splitter.ts';
import { call, every, FakePeer } from './testing/fake-peer.ts';

const [first, second]: [ExpertAdapter, ExpertAdapter] = [{}, {}];
/** Of expert 1 in layer 1. */
const adds = (adapter: ExpertAdapter): { experts: ExpertAdapters } => {
  return { experts: new Map([[1, new Map([[1, adapter]])]]) };
};

const numberOf = (adapter: ItemAdapters['experts'][number]): number =>
  [first, second].indexOf(adapter as ExpertAdapter);

/** Three rows to experts 0 and 1: of the first adapter, of both with scales, and of none. */
const moe = {
  layer: 1,
  ...assignmentsOfCall(
    call([
      [0, 1],
      [1, 0],
      [0, 1],
    ]),
  ),
};
const adapters = itemAdaptersOf(moe, (row) => {
  return [[adds(first)], [adds(first), { ...adds(second), scales: () => [0.5, 2, 1] as const }], []][row]!;
})!;
const work = { ...moe, adapters };
const all = [0, 1, 2, 3, 4, 5];

it('what is added to a call is listed by assignment', () => {
  expect([...adapters.ends]).toEqual([0, 1, 3, 3, 3, 3]);
  expect(adapters.experts.map(numberOf)).toEqual([0, 1]);
  expect([[...adapters.of], [...adapters.scales]]).toEqual([
    [0, 0, 1],
    [1, 1, 1, 1, 1, 1, 0.5, 2, 1],
  ]);
  expect(itemAdaptersOf(moe, () => [])).toBeUndefined();
  expect(itemAdaptersOf({ ...moe, layer: 2 }, () => [adds(first)])).toBeUndefined();
});

it('needs have one order, whatever the other rows', () => {
  const { needs, needOf } = assignmentNeeds(work, all);
  const names = needs.map((need) => [need.expert, ...need.adapters.map((adapter) => [first, second].indexOf(adapter))]);
  expect(names).toEqual([[0], [1], [1, 0], [1, 0, 1]]);
  expect([...needOf]).toEqual([0, 2, 3, 0, 0, 1]);
  const { needs: few } = assignmentNeeds(work, [2, 1]);
  expect(few.map((need) => need.adapters.length)).toEqual([1, 2]);
});

describe('LapSplitter with adapters', () => {
  let wanted: [string, number][];
  beforeEach(() => {
    wanted = [];
  });

  const peer = (id: string, ...held: ExpertAdapter[]): FakePeer =>
    Object.assign(new FakePeer(id, every), {
      adapters: {
        serves: (adapter: ExpertAdapter) => held.includes(adapter),
        want: (adapter: ExpertAdapter) => wanted.push([id, [first, second].indexOf(adapter)]),
      },
    });
  const split = (peers: FakePeer[], tried: FakePeer[] = []): [string, number[]][] =>
    new LapSplitter(() => peers)
      .split(work, all, new Set(tried))
      .map(({ peer: of, assignments }) => [of?.peerId ?? 'coordinator', assignments]);

  it('gives a tab that holds everything all of it, in one part', () => {
    expect(split([peer('both', first, second)])).toEqual([['both', all]]);
    expect(wanted).toEqual([]);
  });

  it('gives the coordinator what no tab holds, and has tabs with the expert fetch it', () => {
    expect(split([peer('one', first), new FakePeer('old', every)]).toSorted()).toEqual([
      ['coordinator', [2]],
      ['one', [0, 1, 3, 4, 5]],
    ]);
    expect(wanted).toEqual([
      ['one', 0],
      ['one', 1],
    ]);
    wanted = [];
    const held = peer('held', first, second);
    expect(split([held, peer('none')], [held])).toContainEqual(['coordinator', [1, 2]]);
    expect(new Set(wanted.map(([id]) => id))).toEqual(new Set(['none']));
  });

  it('finds a row’s adapted expert on another tab than its others, if it must', () => {
    const rest = new FakePeer('rest', (_, expert) => expert === 0);
    const adapted = Object.assign(peer('adapted', first, second), {
      serves: (_: number, expert: number) => expert === 1,
    });
    expect(split([rest, adapted]).toSorted()).toEqual([
      ['adapted', [1, 2, 5]],
      ['rest', [0, 3, 4]],
    ]);
  });
});
