import type { Progress } from '@shoal/protocol';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type Clock, systemClock } from '../base/clock.ts';
import { EventLog } from '../base/event-log.ts';
import type { SwarmOptions } from './swarm-options.ts';
import { Swarm } from './swarm.ts';
import { EXPERTS, FakeTab, helloOf, LAYERS, serves, smallSwarm, someLap } from './testing/fake-tab.ts';

const ALL = LAYERS.length * EXPERTS;
/** A second of the swarm takes this many milliseconds. */
const SECOND_MS = 50;

/** Runs twenty times as fast as the tests. */
const fast: Clock = {
  ...systemClock,
  now: () => (performance.now() * 1000) / SECOND_MS,
  setTimeout: (run, ms) => systemClock.setTimeout(run, (ms * SECOND_MS) / 1000),
  setInterval: (run, ms) => systemClock.setInterval(run, (ms * SECOND_MS) / 1000),
};

let swarm: Swarm;
let events: EventLog;

function makeSwarm(options: Partial<SwarmOptions> = {}): Swarm {
  events = new EventLog(() => fast.now());
  return new Swarm({
    ...smallSwarm(),
    events,
    clock: fast,
    timings: { joinDelayMs: 1, leaveDelayMs: 5 },
    ...options,
  });
}

beforeEach(() => {
  swarm = makeSwarm();
});
afterEach(() => swarm.close());

const join = (options?: Parameters<typeof FakeTab.join>[1]): FakeTab => FakeTab.join(swarm, options).connect(swarm);
const until = (condition: () => boolean): Promise<void> => vi.waitFor(() => expect(condition()).toBe(true), 90_000);

/** Asks for a lap as often as a stream would. Resolves to how many it has spoilt when it is sent away. */
async function keepAsking(tab: FakeTab): Promise<number> {
  const meter = { frameBytes: 0 };
  const before = tab.laps;
  while (tab.dismissed === undefined) {
    if (tab.session.laps.expected.standing !== 'avoid')
      await tab.session.laps.ask(someLap(), { meter }).catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return tab.laps - before;
}

describe('Swarm: a tab that never loads', () => {
  const progressOf = (tab: FakeTab, doneBytes: number): Progress => ({
    epoch: tab.session.epoch,
    phase: 'downloading',
    doneBytes,
    totalBytes: 2 ** 40,
    cachedBytes: 0,
  });

  it('is no holder after a while: others load what nobody serves, while it may still finish', async () => {
    const capture = join({ loads: false });
    await until(() => capture.session.assigned.size === ALL);
    const honest = join();
    await until(() => honest.session.live.size === ALL);
    expect(capture.dismissed).toBeUndefined();
    expect(capture.session.assigned.size).toBeGreaterThan(0);
    capture.ready(swarm);
    await until(() => capture.session.settled && swarm.uncovered() === 0);
  });

  it('is one for a minute at most, however much progress it claims', async () => {
    const capture = join({ loads: false });
    await until(() => capture.session.assigned.size === ALL);
    let doneBytes = 0;
    const claims = setInterval(() => swarm.progress(capture.session, progressOf(capture, ++doneBytes)), SECOND_MS);
    const startedMs = fast.now();
    const honest = join();
    await until(() => swarm.uncovered() === 0);
    clearInterval(claims);
    expect(honest.session.live.size).toBe(ALL);
    expect(fast.now() - startedMs).toBeGreaterThan(50_000);
    expect(capture.dismissed).toBeUndefined();
  });

  it('is dismissed, though it says again and again that it has loaded nothing', async () => {
    const capture = join({ loads: false });
    await until(() => capture.assigned.length > 0);
    const claims = setInterval(() => swarm.progress(capture.session, progressOf(capture, 0)), SECOND_MS);
    await until(() => capture.dismissed !== undefined);
    clearInterval(claims);
    expect(capture.dismissed).toMatchObject({ code: 'timeout', retry: true });
  });

  it('does not keep a newcomer from what nobody was to load at all', async () => {
    const loading = [join({ experts: 2, loads: false }), join({ experts: 2, loads: false })];
    await until(() => loading.every((tab) => tab.session.doubtful));
    const planned = new Set(loading.flatMap((tab) => [...tab.session.assigned]));
    const late = join({ experts: 4 });
    await until(() => late.session.live.size === 4);
    expect([...late.session.live].filter((expert) => planned.has(expert))).toEqual([]);
    for (const tab of loading) tab.ready(swarm);
    await until(() => swarm.uncovered() === 0);
  });
});

describe('Swarm: a tab that holds laps up', () => {
  it.each(['busy', 'paused', 'stale-epoch', 'silent'] as const)(
    'by being %s is gone after few of them',
    async (mode) => {
      const [tab, honest] = [join({ donorToken: 'a' }), join({ donorToken: 'b' })];
      await until(() => swarm.uncovered() === 0 && tab.session.settled && honest.session.settled);
      await until(() => serves(tab));
      tab.mode = mode;
      expect(await keepAsking(tab)).toBeLessThanOrEqual(6);
      expect(tab.dismissed).toMatchObject({ code: 'timeout', retry: true });
    },
  );

  it('may come back at once the first time, and has to wait the next time', async () => {
    for (let visit = 0; visit < 2; visit++) {
      const tab = join({ donorToken: 'a' });
      await until(() => serves(tab));
      tab.mode = 'failed';
      await keepAsking(tab);
      await new Promise((resolve) => setTimeout(resolve, 6 * SECOND_MS));
    }
    expect(() => join({ donorToken: 'a' })).toThrow(expect.objectContaining({ code: 'wait' }));
    expect(() => join({ donorToken: 'b' })).not.toThrow();
  });
});

describe('Swarm: a tab that asks for more and more work', () => {
  it('by losing its GPU again and again is sent away', async () => {
    const tab = join();
    await until(() => serves(tab));
    for (let loss = 0; loss < 100 && tab.dismissed === undefined; loss++) {
      swarm.trouble(tab.session, { epoch: tab.session.epoch, code: 'device-lost', message: 'gone' });
      tab.ready(swarm);
      await new Promise(setImmediate);
    }
    expect(tab.dismissed).toMatchObject({ code: 'removed', retry: false });
    expect(tab.laps).toBeLessThanOrEqual(8 * LAYERS.length);
  });

  it('by refusing its test and being ready again is sent away', async () => {
    // Nothing in it waits, and on the fast clock a busy machine would run out of the time that a test may take.
    swarm.close();
    swarm = makeSwarm({ clock: systemClock });
    const tab = join({ mode: 'paused' });
    for (let i = 0; tab.dismissed === undefined; i++) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      if (tab.assigned.length > 0) tab.ready(swarm);
    }
    expect(tab.dismissed).toMatchObject({ code: 'removed' });
    expect(tab.laps).toBeLessThanOrEqual(8);
  });

  it('by pausing and resuming without end is sent away, and leaves the log readable', async () => {
    const tab = join();
    await until(() => serves(tab));
    for (let i = 0; i < 1_000; i++) swarm.intent(tab.session, { intent: i % 2 === 0 ? 'pause' : 'resume' });
    expect(tab.dismissed).toMatchObject({ code: 'removed' });
    expect(events.all().length).toBeLessThan(40);
  });

  it('is seen to misbehave, and to be sent away, though it talks so much that the log leaves most of it out', async () => {
    // It has no link, so nobody loses anything when it goes.
    const tab = FakeTab.join(swarm);
    for (let i = 0; i < 18; i++) swarm.intent(tab.session, { intent: i % 2 === 0 ? 'pause' : 'resume' });
    tab.connect(swarm).session.link!.onFrame!(new Uint8Array(4));
    const peerId = tab.session.peerId;
    const levels = (part: string) => events.all().flatMap(({ level, text }) => (text.includes(part) ? level : []));
    expect(levels(`Further events of ${peerId} (info)`)).toEqual(['warning']);
    expect(levels(`${peerId} broke the protocol`)).toEqual(['error']);
    expect(levels(`${peerId} was dismissed`)).toEqual(['warning']);
  });
});

describe('Swarm: tabs that only say hello', () => {
  const helloFrom = (address: string): ReturnType<Swarm['join']> =>
    swarm.join(helloOf(crypto.randomUUID(), 100), address, { assign: () => {}, standing: () => {}, dismiss: () => {} });

  it('make room in a full swarm for one from a network that has fewer', async () => {
    swarm = makeSwarm({ maxPeers: 4 });
    const honest = join();
    await until(() => serves(honest));
    for (let i = 0; i < 3; i++) helloFrom('10.0.0.1');
    // They may be about to connect.
    expect(() => helloFrom('10.0.0.2')).toThrow(expect.objectContaining({ code: 'full' }));
    await new Promise((resolve) => setTimeout(resolve, 11 * SECOND_MS));
    expect(helloFrom('10.0.0.2').state).toBe('connecting');
    expect(swarm.peers).toHaveLength(4);
    expect(() => helloFrom('10.0.0.1')).toThrow(expect.objectContaining({ code: 'full' }));
    helloFrom('10.0.0.3');
    // Of those that are left, one is as good as another.
    expect(() => helloFrom('10.0.0.4')).toThrow(expect.objectContaining({ code: 'full' }));
    expect(honest.dismissed).toBeUndefined();
  });

  it('but not one that is loading', async () => {
    swarm = makeSwarm({ maxPeers: 3 });
    const loading = [join({ loads: false }), join({ loads: false }), join({ loads: false })];
    let doneBytes = 0;
    const claims = setInterval(() => {
      for (const { session } of loading) {
        const progress = { epoch: session.epoch, doneBytes: ++doneBytes, totalBytes: 2 ** 30, cachedBytes: 0 };
        swarm.progress(session, { ...progress, phase: 'downloading' });
      }
    }, SECOND_MS / 2);
    await new Promise((resolve) => setTimeout(resolve, 12 * SECOND_MS));
    clearInterval(claims);
    expect(() => helloFrom('10.0.0.2')).toThrow(expect.objectContaining({ code: 'full' }));
  });
});
