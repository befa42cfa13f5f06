import { MemoryShardCache } from '@shoal/peer';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Core, createCore } from '../../coordinator/src/index.ts';
import { answer } from './answers.ts';
import { GOLDEN, promisedLength } from './golden.ts';
import { covered, until, VirtualDonor } from './virtual-donor.ts';
import { tinyConfig } from './tiny-coordinator.ts';

let core: Core;
let donors: VirtualDonor[] = [];

beforeEach(async () => {
  core = await createCore(tinyConfig({ replicas: 2 }));
});

afterEach(async () => {
  await core.close();
  await Promise.all(donors.map((donor) => donor.close()));
  donors = [];
});

async function join(count: number, options?: Parameters<typeof VirtualDonor.join>[1]): Promise<VirtualDonor[]> {
  const joined = await Promise.all(Array.from({ length: count }, () => VirtualDonor.join(core, options)));
  donors.push(...joined);
  await until('all experts to be served', () => covered(core));
  return joined;
}

const texts = (): string[] => core.events.all().map((event) => event.text);

describe('a swarm (Core, Swarm, Dispatcher) over the memory transport', () => {
  it('answers as the golden model does, with every expert in a tab', async () => {
    await join(4);
    for (const golden of GOLDEN) {
      const { ids } = await answer(core, golden.prompt_ids);
      const promised = promisedLength(golden);
      expect(ids.slice(0, promised)).toEqual(golden.greedy_ids.slice(0, promised));
    }
    expect(core.dispatcher.figures.fallbackAssignments).toBe(0);
    expect(core.dispatcher.figures.tabAssignments).toBeGreaterThan(0);
    // Whole layers on each peer: one tab per row and lap.
    expect(core.dispatcher.figures.tabRowParts).toBe(core.dispatcher.figures.tabRows);
  });

  it('answers by local experts alone when no tab is there, and says so', async () => {
    const golden = GOLDEN[3]!;
    const { ids } = await answer(core, golden.prompt_ids);
    expect(ids).toEqual(golden.greedy_ids);
    expect(core.dispatcher.figures.tabAssignments).toBe(0);
    expect(core.swarm.uncovered()).toBe(160);
  });

  it('keeps an answer whole while tabs die, until none is left, and when new ones come', async () => {
    const first = await join(4);
    const golden = GOLDEN[3]!;
    const { ids } = await answer(core, golden.prompt_ids, {
      onToken: async (_, index) => {
        if (index === 5) first[0]!.kill();
        if (index === 12) for (const donor of first.slice(1)) donor.kill();
        if (index === 20) await join(2);
      },
    });
    expect(ids).toEqual(golden.greedy_ids);
    expect(core.dispatcher.figures.fallbackAssignments).toBeGreaterThan(0);
    expect(core.swarm.departed).toBe(4);
    expect(core.swarm.joined).toBe(6);
    expect(
      texts().filter((text) => text.includes('lost its connection') || text.includes('vanished')),
    ).not.toHaveLength(0);
  });

  it('re-dispatches a lap to another tab when its deadline passes: the tab has fallen silent', async () => {
    const tabs = await join(2);
    const golden = GOLDEN[6]!;
    const { ids } = await answer(core, golden.prompt_ids, {
      onToken: (_, index) => {
        // The busier one, so that it has laps in flight.
        if (index === 4) tabs.sort((a, b) => b.session.laps.rows - a.session.laps.rows)[0]!.kill('black-hole');
      },
    });
    expect(ids).toEqual(golden.greedy_ids);
    // A replica may have been asked before the deadline.
    const { redispatches, hedges, trials } = core.dispatcher.figures;
    expect(redispatches + hedges + trials).toBeGreaterThan(0);
    expect(core.dispatcher.figures.fallbackAssignments).toBe(0);
  });

  it('gives the same answers over wires that lose, repeat, reorder and corrupt', async () => {
    const faults = { loss: 0.02, duplication: 0.05, reordering: 0.1, jitterMs: 2 };
    // Loss would also hit known-answer tests with their long deadline, so it starts once all serve.
    const tabs = await join(3);
    for (const [i, { wire }] of tabs.entries()) {
      Object.assign(wire.aToB, faults);
      Object.assign(wire.bToA, { ...faults, corruption: i === 0 ? 0.01 : 0 });
    }
    const golden = GOLDEN[3]!;
    const { ids } = await answer(core, golden.prompt_ids, { maxTokens: 24 });
    expect(ids).toEqual(golden.greedy_ids.slice(0, 24));
  });

  it('the known-answer test refuses a tab whose experts compute something else', async () => {
    donors.push(
      await VirtualDonor.join(core, {
        wrapBackend: (backend) => ({
          ...delegate(backend),
          run: async (lap) => {
            const output = await backend.run(lap);
            return { ...output, partial: output.partial.map((value) => value * 1.01) };
          },
        }),
      }),
    );
    await until('the liar to be sent away', () => donors[0]!.dismissed !== undefined);
    expect(donors[0]!.dismissed).toMatchObject({ code: 'self-test', retry: false });
    expect(core.swarm.peers).toHaveLength(0);
    const { ids } = await answer(core, GOLDEN[6]!.prompt_ids);
    expect(ids).toEqual(GOLDEN[6]!.greedy_ids);
    expect(core.dispatcher.figures.tabAssignments).toBe(0);
  });

  it('lets eight streams share every lap, each as if it were alone', async () => {
    await join(4);
    const requests = GOLDEN.map((golden, i) => ({
      promptIds: golden.prompt_ids,
      options: { seed: 100 + i, temperature: 0.8, topP: 0.95, maxTokens: 8 + 4 * i },
    }));
    const alone: number[][] = [];
    for (const { promptIds, options } of requests) alone.push((await answer(core, promptIds, options)).ids);
    const lapsBefore = core.dispatcher.figures.laps;
    const together = await Promise.all(requests.map(({ promptIds, options }) => answer(core, promptIds, options)));
    expect(together.map(({ ids }) => ids)).toEqual(alone);
    const tokens = together.reduce((sum, { ids }) => sum + ids.length, 0);
    // Shared laps in at most two micro-batches: far fewer than one lap for each stream.
    expect(core.dispatcher.figures.laps - lapsBefore).toBeLessThan((tokens * 5) / 2);
  });

  it('does not download again what a returning donor has kept', async () => {
    const [tab] = await join(1, { cache: new MemoryShardCache() });
    const before = tab!.downloads;
    expect(before).toBeGreaterThan(0);
    tab!.kill();
    await until('the tab to be gone', () => core.swarm.peers.length === 0);
    const [back] = await join(1, { donorToken: tab!.donorToken, cache: tab!.cache });
    expect(back!.downloads).toBe(0);
    expect(core.swarm.uncovered()).toBe(0);
  });

  it('drains a tab only when others serve its experts', async () => {
    const tabs = await join(2);
    const golden = GOLDEN[3]!;
    const { ids } = await answer(core, golden.prompt_ids, {
      onToken: (_, index) => {
        if (index === 3) core.swarm.intent(tabs[0]!.session, { intent: 'finish' });
      },
    });
    expect(ids).toEqual(golden.greedy_ids);
    await until('the farewell', () => tabs[0]!.dismissed !== undefined);
    expect(tabs[0]!.dismissed?.code).toBe('finished');
    expect(core.dispatcher.figures.fallbackAssignments).toBe(0);
    expect(core.dispatcher.figures.redispatches).toBe(0);
  });

  it('placement lets tabs that it does not need wait, and none of them holds the others up', async () => {
    // Five layers, two copies: the eleventh and twelfth have nothing to hold.
    const tabs = await join(12);
    expect(tabs.filter(({ session }) => session.live.size === 0).map(({ session }) => session.state)).not.toContain(
      'loading',
    );
    const { ids } = await answer(core, GOLDEN[6]!.prompt_ids);
    expect(ids).toEqual(GOLDEN[6]!.greedy_ids);
    expect(core.dispatcher.figures.fallbackAssignments).toBe(0);
  });

  it('gives a paused tab no laps, and takes it back', async () => {
    const tabs = await join(2);
    core.swarm.intent(tabs[0]!.session, { intent: 'pause' });
    const rows = tabs[0]!.session.laps.rows;
    await answer(core, GOLDEN[6]!.prompt_ids);
    expect(tabs[0]!.session.laps.rows).toBe(rows);
    core.swarm.intent(tabs[0]!.session, { intent: 'resume' });
    await answer(core, GOLDEN[6]!.prompt_ids);
    expect(tabs[0]!.session.laps.rows).toBeGreaterThan(rows);
  });
});

/** A backend's members bound to it, so that one of them can be replaced. */
function delegate(
  backend: Parameters<NonNullable<Parameters<typeof VirtualDonor.join>[1]>['wrapBackend'] & object>[0],
) {
  return {
    name: backend.name,
    shape: backend.shape,
    get allocatedBytes() {
      return backend.allocatedBytes;
    },
    maxExpertsPerLayer: backend.maxExpertsPerLayer,
    lost: backend.lost,
    reserve: backend.reserve.bind(backend),
    load: backend.load.bind(backend),
    unload: backend.unload.bind(backend),
    has: backend.has.bind(backend),
    openAdapter: backend.openAdapter.bind(backend),
    destroy: backend.destroy.bind(backend),
  };
}
