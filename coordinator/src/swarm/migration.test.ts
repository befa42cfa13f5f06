import { createRng, type Rng } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { migrate, type MigrationStep } from './migration.ts';

const EXPERTS_PER_LAYER = 8;

interface Tab {
  name: string;
  assigned: Set<number>;
  live: Set<number>;
  target: Set<number>;
  maxExperts: number;
  maxExpertsPerLayer: number;
}

function tab(name: string, holds: number[], target: number[], maxExperts: number): Tab {
  const maxExpertsPerLayer = EXPERTS_PER_LAYER;
  return {
    name,
    assigned: new Set(holds),
    live: new Set(holds),
    target: new Set(target),
    maxExperts,
    maxExpertsPerLayer,
  };
}

/** Steps until nothing moves, with tabs loading in a random order; calls `look` after every step. */
function play(
  tabs: Tab[],
  options: { rng: Rng; load?: (expert: number) => number; look?: (uncovered: number[]) => void },
) {
  const { rng, load = () => 1, look = () => {} } = options;
  const planned = new Set(tabs.flatMap(({ target }) => [...target]));
  const result = { steps: 0, fetched: 0, uncovered: [] as number[], breaks: 0 };
  const apply = (step: MigrationStep<Tab>): void => {
    result.uncovered.push(...step.uncovered);
    if (step.uncovered.length > 0) result.breaks++;
    for (const [moved, holds] of step.next) {
      for (const expert of holds) if (!moved.assigned.has(expert)) result.fetched++;
      moved.assigned = holds;
      for (const expert of moved.live) if (!holds.has(expert)) moved.live.delete(expert);
      expect(holds.size).toBeLessThanOrEqual(moved.maxExperts);
      expect(Math.max(0, ...perLayer(holds))).toBeLessThanOrEqual(moved.maxExpertsPerLayer);
      result.steps++;
    }
    look(result.uncovered);
  };
  const step = (replanned: boolean): void =>
    apply(
      migrate({
        migrants: tabs,
        expertsPerLayer: EXPERTS_PER_LAYER,
        load,
        planned: (expert) => planned.has(expert),
        replanned,
        mayBreak: true,
      }),
    );
  step(true);
  for (let loading = tabs.filter(isLoading); loading.length > 0; loading = tabs.filter(isLoading)) {
    const ready = loading[Math.floor(rng() * loading.length)]!;
    for (const expert of ready.assigned) ready.live.add(expert);
    step(false);
  }
  return result;
}

const isLoading = ({ assigned, live }: Tab): boolean => live.size < assigned.size;

/** Number of experts by layer. */
function perLayer(experts: Iterable<number>): number[] {
  const counts = Array.from({ length: 8 }, () => 0);
  for (const expert of experts) counts[Math.floor(expert / EXPERTS_PER_LAYER)]!++;
  return counts;
}

const served = (tabs: readonly Tab[]): Set<number> => new Set(tabs.flatMap(({ live }) => [...live]));
const settled = ({ assigned, live, target }: Tab): boolean =>
  assigned.size === target.size && live.size === target.size && [...target].every((expert) => live.has(expert));

/** Deals out experts at random, each to one of the tabs with room, and some to a second one. */
function deal(rng: Rng, experts: number, rooms: readonly number[], maxPerLayer: number): number[][] {
  const hands: number[][] = rooms.map(() => []);
  const place = (expert: number): void => {
    const layer = Math.floor(expert / EXPERTS_PER_LAYER);
    const able = [...hands.keys()].filter(
      (i) => hands[i]!.length < rooms[i]! && !hands[i]!.includes(expert) && perLayer(hands[i]!)[layer]! < maxPerLayer,
    );
    if (able.length > 0) hands[able[Math.floor(rng() * able.length)]!]!.push(expert);
  };
  for (let expert = 0; expert < experts; expert++) place(expert);
  for (let expert = 0; expert < experts; expert++) if (rng() < 0.3) place(expert);
  return hands;
}

describe('migrate, from one placement to any other', () => {
  it('keeps served experts served except those that a circle costs and the step reports, terminates, and fetches nothing twice', () => {
    let [circles, freeRuns] = [0, 0];
    for (let seed = 1; seed <= 300; seed++) {
      const rng = createRng(seed);
      const [experts, numTabs] = [EXPERTS_PER_LAYER * (1 + Math.floor(rng() * 4)), 2 + Math.floor(rng() * 6)];
      const rooms = Array.from({ length: numTabs }, () => Math.ceil(experts / numTabs) + Number(rng() < 0.3));
      const maxPerLayer = rng() < 0.3 ? Math.ceil(EXPERTS_PER_LAYER / numTabs) + 2 : EXPERTS_PER_LAYER;
      const [now, then] = [deal(rng, experts, rooms, maxPerLayer), deal(rng, experts, rooms, maxPerLayer)];
      const tabs = rooms.map((room, i) => ({
        ...tab(`tab ${i}`, now[i]!, then[i]!, room),
        maxExpertsPerLayer: maxPerLayer,
      }));
      const planned = new Set(then.flat());
      const before = [...served(tabs)].filter((expert) => planned.has(expert));
      const lacking = tabs.reduce((sum, { target, live }) => sum + [...target].filter((e) => !live.has(e)).length, 0);
      const surplus = tabs.reduce((sum, { target, live }) => sum + [...live].filter((e) => !target.has(e)).length, 0);
      const result = play(tabs, {
        rng,
        look: (uncovered) => {
          const live = served(tabs);
          for (const expert of before) if (!live.has(expert)) expect(uncovered, `seed ${seed}`).toContain(expert);
        },
      });
      expect(tabs.every(settled), `seed ${seed} converges`).toBe(true);
      expect(result.fetched, `seed ${seed}`).toBe(lacking);
      expect(result.steps).toBeLessThanOrEqual(lacking + surplus);
      // No expert is uncovered twice.
      expect(new Set(result.uncovered).size).toBe(result.uncovered.length);
      if (result.uncovered.length > 0) circles++;
      else freeRuns++;
    }
    // Both cases have to occur.
    expect(circles).toBeGreaterThan(20);
    expect(freeRuns).toBeGreaterThan(20);
  });

  it('uncovers nothing if one place is free', () => {
    for (let seed = 1; seed <= 50; seed++) {
      const tabs = [tab('a', [0, 1, 2], [3, 4, 5], 3), tab('b', [3, 4, 5], [0, 1, 2], 4)];
      const before = served(tabs);
      const { uncovered } = play(tabs, { rng: createRng(seed), look: () => expect(served(tabs)).toEqual(before) });
      expect(uncovered).toEqual([]);
      expect(tabs.every(settled)).toBe(true);
    }
  });
});

describe('migrate, for a circle of full tabs', () => {
  it('breaks it with the idlest expert, and leaves at most one without a replica at a time', () => {
    const tabs = [tab('a', [0, 1], [2, 3], 2), tab('b', [2, 3], [0, 1], 2)];
    const load = (expert: number): number => [5, 9, 7, 6][expert]!;
    const missing: number[] = [];
    const { uncovered } = play(tabs, { rng: createRng(1), load, look: () => missing.push(4 - served(tabs).size) });
    expect(uncovered[0]).toBe(0);
    expect(Math.max(...missing)).toBe(1);
    expect(missing.at(-1)).toBe(0);
    expect(tabs.every(settled)).toBe(true);
  });

  it('breaks it with an expert that is served elsewhere too, however busy, if there is one', () => {
    const tabs = [tab('a', [0, 1], [2, 3], 2), tab('b', [2, 3], [0, 1], 2), tab('c', [1], [1], 1)];
    const load = (expert: number): number => (expert === 1 ? 100 : 1);
    const before = served(tabs);
    const looks: number[] = [];
    const { uncovered } = play(tabs, { rng: createRng(1), load, look: () => looks.push(served(tabs).size) });
    expect(looks[0]).toBe(before.size);
    expect(uncovered).toEqual([]);
    expect(tabs.every(settled)).toBe(true);
  });

  it('does not break it while one of its tabs is loading', () => {
    const [a, b] = [tab('a', [0, 1], [2, 3], 2), tab('b', [2, 3], [0, 4], 3)];
    b.assigned.add(0);
    const options = { expertsPerLayer: EXPERTS_PER_LAYER, load: () => 1, planned: () => true, replanned: false };
    const { next, uncovered } = migrate({ ...options, migrants: [a, b], mayBreak: true });
    expect([next.size, uncovered]).toEqual([0, []]);
  });

  it('does not break it while another plan is due', () => {
    const tabs = [tab('a', [0, 1], [2, 3], 2), tab('b', [2, 3], [0, 1], 2)];
    const options = { expertsPerLayer: EXPERTS_PER_LAYER, load: () => 1, planned: () => true, replanned: true };
    expect(migrate({ ...options, migrants: tabs, mayBreak: false }).next.size).toBe(0);
  });
});

it('migrate keeps an expert whose heir has left', () => {
  // The plan gave expert 1 to a tab that left before serving it.
  const a = tab('a', [0, 1], [0], 2);
  const options = { expertsPerLayer: EXPERTS_PER_LAYER, load: () => 1, replanned: false, mayBreak: false };
  expect(migrate({ ...options, migrants: [a], planned: () => true }).next.size).toBe(0);
  // An expert that the plan has no room for may be dropped.
  expect([...migrate({ ...options, migrants: [a], planned: (e) => e === 0 }).next.get(a)!]).toEqual([0]);
});

it('migrate drops experts at once that were assigned but not loaded', () => {
  const a = tab('a', [0], [0, 2], 4);
  a.assigned = new Set([0, 1]);
  const options = { expertsPerLayer: EXPERTS_PER_LAYER, load: () => 1, planned: () => true, mayBreak: true };
  expect([...migrate({ ...options, migrants: [a], replanned: true }).next.get(a)!]).toEqual([0, 2]);
});
