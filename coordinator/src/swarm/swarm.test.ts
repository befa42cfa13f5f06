import { dismissedSchema } from '@shoal/protocol';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { JoinRefused } from '../access/join-refused.ts';
import { EventLog } from '../base/event-log.ts';
import type { SwarmOptions } from './swarm-options.ts';
import { Swarm } from './swarm.ts';
import { EXPERTS, FakeTab, helloOf, LAYERS, localWork, serves, smallSwarm, someLap } from './testing/fake-tab.ts';

let swarm: Swarm;
let events: EventLog;

function makeSwarm(options: Partial<SwarmOptions> = {}): Swarm {
  events = new EventLog();
  return new Swarm({
    ...smallSwarm(),
    events,
    timings: { joinDelayMs: 1, leaveDelayMs: 5, peerDrainTimeoutMs: 2_000 },
    ...options,
  });
}

beforeEach(() => {
  swarm = makeSwarm();
});
afterEach(() => {
  swarm.close();
  vi.useRealTimers();
});

const join = (options?: Parameters<typeof FakeTab.join>[1]): FakeTab => FakeTab.join(swarm, options).connect(swarm);
const until = (condition: () => boolean): Promise<void> => vi.waitFor(() => expect(condition()).toBe(true), 90_000);
const texts = (): string[] => events.all().map(({ text }) => text);

describe('Swarm: a tab that joins', () => {
  it('is given experts, tested over its own lap channel, and serves', async () => {
    const tab = join();
    await until(() => serves(tab));
    expect(tab.session.live.size).toBe(LAYERS.length * EXPERTS);
    expect(tab.session.verifiedShare).toBe(1);
    expect(tab.laps).toBe(LAYERS.length);
    expect(tab.standings.map(({ phase }) => phase)).toEqual(['testing', 'waiting']);
    // Tests do not count as work.
    expect(tab.session.laps).toMatchObject({ rows: 0, lapsAsked: 0 });
  });

  it('is tested once, however often it reports ready', async () => {
    const tab = join({ loads: false });
    await until(() => tab.assigned.length === 1);
    for (let i = 0; i < 50; i++) tab.ready(swarm);
    await until(() => serves(tab));
    expect(tab.laps).toBe(LAYERS.length);
  });

  it('and leaves during its test has its bytes counted as those of tests', async () => {
    const tab = join({ mode: 'silent' });
    await until(() => tab.laps > 0);
    swarm.leave(tab.session, 'went away');
    await new Promise(setImmediate);
    const { sent, received, tests } = swarm.wireBytes;
    expect(tests).toBeGreaterThan(0);
    expect(tests).toBe(sent + received);
  });

  it('is refused for a reason that it can act on', () => {
    expect(() => join({ experts: 0.5 })).toThrow(expect.objectContaining({ code: 'too-small' }));
    swarm = makeSwarm({ cpuDonors: false });
    const cpu = { ...helloOf('c', 100).adapter, vendor: 'cpu', architecture: 'wasm' };
    const control = { assign: () => {}, standing: () => {}, dismiss: () => {} };
    const lend = (): unknown => swarm.join({ ...helloOf('c', 100), adapter: cpu }, '127.0.0.1', control);
    expect(lend).toThrow(expect.objectContaining({ code: 'no-cpu' }));
    swarm = makeSwarm();
    expect(lend).not.toThrow();
    swarm = makeSwarm({ expertNeeds: { quant: 'mxfp4', activation: 'clamped-swiglu', bias: true } });
    expect(lend).toThrow('"clamped-swiglu"');
    const knows = (...expertKinds: string[]) => swarm.join({ ...helloOf('c', 100), expertKinds }, '127.0.0.1', control);
    expect(() => knows('clamped-swiglu', 'mxfp4')).toThrow(expect.objectContaining({ code: 'kind' }));
    expect(() => knows('clamped-swiglu', 'mxfp4', 'bias')).not.toThrow();
    swarm = makeSwarm({ maxPeers: 1 });
    join({ donorToken: 'a' });
    expect(() => join({ donorToken: 'b' })).toThrow(JoinRefused);
    // The same donor's new tab takes the old one's place.
    expect(() => join({ donorToken: 'a' })).not.toThrow();
    expect(swarm.peers).toHaveLength(1);
    swarm.close();
    expect(() => join({ donorToken: 'c' })).toThrow(expect.objectContaining({ code: 'draining' }));
  });

  it('and is not needed waits without experts until another tab leaves', async () => {
    const tabs = [join({ experts: 4 }), join({ experts: 4 }), join({ experts: 4 })];
    await until(() => swarm.uncovered() === 0 && tabs.every((tab) => tab.session.settled));
    const spare = tabs.find((tab) => tab.session.live.size === 0)!;
    expect(spare.session.state).toBe('waiting');
    swarm.leave(tabs.find((tab) => tab !== spare)!.session, 'vanished');
    await until(() => serves(spare) && swarm.uncovered() === 0);
    expect(spare.standings.map(({ phase }) => phase)).toContain('testing');
  });

  it('is not dismissed for a late progress message once it serves', async () => {
    swarm = makeSwarm({ timings: { joinDelayMs: 1, loadTimeoutMs: 100 } });
    const tab = join();
    await until(() => serves(tab));
    const { epoch } = tab.session;
    swarm.progress(tab.session, { epoch, phase: 'uploading', doneBytes: 9, totalBytes: 10, cachedBytes: 0 });
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(tab.dismissed).toBeUndefined();
    expect(tab.session.loadedShare).toBe(1);
  });

  it('is dismissed if it makes no progress loading', async () => {
    swarm = makeSwarm({ timings: { joinDelayMs: 1, loadTimeoutMs: 50 } });
    const tab = join({ loads: false });
    await until(() => tab.dismissed !== undefined);
    expect(tab.dismissed).toMatchObject({ code: 'timeout', retry: true });
  });
});

describe('Swarm: a known-answer test', () => {
  it('of a paused tab is made when the donor resumes', async () => {
    const tab = join({ mode: 'paused', loads: false });
    await until(() => tab.assigned.length === 1);
    swarm.intent(tab.session, { intent: 'pause' });
    tab.ready(swarm);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect([tab.dismissed, tab.session.state, tab.laps]).toEqual([undefined, 'paused', 0]);
    tab.mode = 'honest';
    swarm.intent(tab.session, { intent: 'resume' });
    await until(() => serves(tab));
  });

  it('that the tab refuses just before it reports its pause is made when the donor resumes', async () => {
    const tab = join({ mode: 'paused' });
    await until(() => tab.laps > 0 && tab.session.tests.size === 0);
    swarm.intent(tab.session, { intent: 'pause' });
    tab.mode = 'honest';
    swarm.intent(tab.session, { intent: 'resume' });
    await until(() => serves(tab));
    expect(tab.dismissed).toBeUndefined();
  });

  it('of a tab that joins paused waits until the donor resumes', async () => {
    const tab = FakeTab.join(swarm);
    swarm.intent(tab.session, { intent: 'pause' });
    tab.connect(swarm);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect([tab.session.state, tab.assigned.length]).toEqual(['paused', 0]);
    swarm.intent(tab.session, { intent: 'resume' });
    await until(() => serves(tab));
  });

  it('that a newer assignment overtakes does not end the visit', async () => {
    const tab = join();
    let release = (): void => {};
    tab.mayAnswer = new Promise((resolve) => (release = resolve));
    await until(() => tab.laps === 1);
    // As when a newer assignment takes an expert away: the tab has unloaded it, and says so.
    const { session } = tab;
    for (const test of session.tests) test.delete(session.assigned.values().next().value!);
    session.epoch++;
    tab.mode = 'stale-epoch';
    release();
    await until(() => session.tests.size === 0);
    expect([tab.dismissed, session.live.size]).toEqual([undefined, 0]);
    tab.mode = 'honest';
    await swarm.ready(session, { epoch: session.epoch, allocatedBytes: 0 });
    expect(session.serving).toBe(true);
  });

  it('that is refused after the tab was ready with a newer assignment is repeated at once', async () => {
    const tab = join();
    let release = (): void => {};
    const held = (): void => void (tab.mayAnswer = new Promise((resolve) => (release = resolve)));
    held();
    await until(() => tab.laps === 1);
    const { session } = tab;
    const taken = session.assigned.values().next().value!;
    for (const test of session.tests) test.delete(taken);
    session.assigned.delete(taken);
    session.target.delete(taken);
    session.epoch++;
    await swarm.ready(session, { epoch: session.epoch, allocatedBytes: 0 });
    tab.mode = 'stale-epoch';
    const refuse = release;
    held();
    refuse();
    await until(() => tab.laps === 2);
    tab.mode = 'honest';
    release();
    await until(() => session.serving && session.settled);
    expect([tab.dismissed, session.live.has(taken)]).toEqual([undefined, false]);
  });

  it('that the tab cannot do ends its visit', async () => {
    const refusing = join({ mode: 'failed' });
    await until(() => refusing.dismissed !== undefined);
    expect(refusing.dismissed).toMatchObject({ code: 'timeout', retry: true });
  });

  it('that the coordinator cannot make is reported, and dismisses the tab', async () => {
    const local = localWork();
    local.compute = () => Promise.reject(new Error('shard missing'));
    swarm = makeSwarm({ local });
    const tab = join();
    await until(() => tab.dismissed !== undefined);
    expect(tab.dismissed).toMatchObject({ code: 'timeout', retry: true });
    expect(texts().join('\n')).toContain('shard missing');
  });
});

describe('Swarm: a tab that serves', () => {
  it('and loses its GPU serves again after another test', async () => {
    const tab = join();
    await until(() => serves(tab));
    const laps = tab.laps;
    swarm.trouble(tab.session, { epoch: tab.session.epoch, code: 'device-lost', message: 'driver reset' });
    expect([tab.session.state, tab.session.serving]).toEqual(['loading', false]);
    tab.ready(swarm);
    await until(() => serves(tab));
    expect(tab.laps).toBe(2 * laps);
    expect(tab.session.note).toBeUndefined();
  });

  it('and cannot hold its experts is dismissed with a message that its page can parse', async () => {
    const tab = join();
    await until(() => serves(tab));
    swarm.trouble(tab.session, { epoch: 1, code: 'out-of-memory', message: 'x'.repeat(1000) });
    expect(dismissedSchema.safeParse(tab.dismissed).success).toBe(true);
    expect(tab.dismissed).toMatchObject({ code: 'removed', retry: false });
  });

  it('and refuses one lap after another is dismissed', async () => {
    const tab = join();
    await until(() => serves(tab));
    tab.mode = 'failed';
    for (let i = 0; i < 3; i++) await tab.session.laps.ask(someLap(), { meter: { frameBytes: 0 } }).catch(() => {});
    await until(() => tab.dismissed !== undefined);
    expect(tab.dismissed).toMatchObject({ code: 'timeout', retry: true });
  });

  it('and misses two deadlines in a row is drained, and may rejoin', async () => {
    const [tab, heir] = [join({ donorToken: 'a' }), join({ donorToken: 'b' })];
    await until(() => serves(tab) && serves(heir));
    tab.mode = 'silent';
    const ask = (): Promise<unknown> =>
      tab.session.laps.ask(someLap(), { meter: { frameBytes: 0 }, deadlineMs: 5 }).catch(() => {});
    await ask();
    expect(tab.session.laps.expected.standing).toBe('avoid');
    expect(tab.session.state).not.toBe('draining');
    await ask();
    await until(() => tab.dismissed !== undefined);
    expect(tab.dismissed).toMatchObject({ code: 'timeout', retry: true });
    expect(tab.cancels).toBe(2);
    expect(tab.standings.map(({ phase }) => phase)).toContain('draining');
    const again = join({ donorToken: 'a' });
    await until(() => again.session.settled);
    expect(again.session.laps.failures.inARow).toBe(0);
  });

  it('is replaced when its donor joins again', async () => {
    const first = join({ donorToken: 'donor' });
    await until(() => serves(first));
    join({ donorToken: 'donor' });
    expect(first.dismissed?.code).toBe('replaced');
  });

  it('stays when its donor opens a second tab', async () => {
    const first = join({ donorToken: 'donor', tab: 0 });
    const second = join({ donorToken: 'donor', tab: 1 });
    await until(() => swarm.uncovered() === 0 && [first, second].every((tab) => tab.session.settled));
    expect([first.dismissed, second.dismissed]).toEqual([undefined, undefined]);
    // The second comes back by its number, and the first is left alone.
    const again = join({ donorToken: 'donor', tab: 1 });
    expect([first.dismissed, second.dismissed?.code]).toEqual([undefined, 'replaced']);
    expect(again.session.standing()).toMatchObject({ tokensHelped: 0 });
  });

  it('gets back what it held itself, not what its donor’s other tab held', async () => {
    swarm.close();
    swarm = makeSwarm({ timings: { joinDelayMs: 1, leaveDelayMs: 60_000 } });
    const tabs = [0, 1].map((tab) => join({ donorToken: 'donor', tab, experts: 4 }));
    await until(() => swarm.uncovered() === 0 && tabs.every(serves));
    const held = tabs.map(({ session }) => [...session.live].sort());
    for (const { session } of tabs) swarm.leave(session, 'vanished');
    // In reverse order.
    const back = [1, 0].map((tab) => join({ donorToken: 'donor', tab, experts: 4 })).reverse();
    await until(() => swarm.uncovered() === 0 && back.every(serves));
    expect(back.map(({ session }) => [...session.live].sort())).toEqual(held);
  });

  it('never gets a second replica of what another tab of its donor holds', async () => {
    swarm.close();
    swarm = makeSwarm({ replicas: 2 });
    const own = [0, 1, 2].map((tab) => join({ donorToken: 'donor', tab }));
    await until(() => swarm.uncovered() === 0 && own.every(({ session }) => session.settled));
    const all = own.flatMap(({ session }) => [...session.live]);
    expect(new Set(all).size).toBe(all.length);
    // Another donor brings the second replicas, however many tabs the first one has.
    const other = join();
    await until(() => serves(other) && own.every(({ session }) => session.settled));
    expect(other.session.live.size).toBe(LAYERS.length * EXPERTS);
  });

  it('is drained only when others serve its experts', async () => {
    const leaving = join();
    await until(() => serves(leaving));
    const heir = join({ loads: false });
    await until(() => heir.assigned.length > 0);
    swarm.intent(leaving.session, { intent: 'finish' });
    await until(() => heir.assigned.at(-1)!.shards.length === LAYERS.length * EXPERTS);
    await new Promise((resolve) => setTimeout(resolve, 150));
    expect(leaving.session.serving).toBe(true);
    heir.loads = true;
    heir.ready(swarm);
    await until(() => leaving.dismissed !== undefined);
    expect(leaving.dismissed?.code).toBe('finished');
    expect(swarm.uncovered()).toBe(0);
  });

  it('is drained after a time limit even if no tab can take over', async () => {
    swarm = makeSwarm({ timings: { joinDelayMs: 1, leaveDelayMs: 5, peerDrainTimeoutMs: 100 } });
    const leaving = join();
    await until(() => serves(leaving));
    const heir = join({ loads: false });
    await until(() => heir.assigned.length > 0);
    swarm.intent(leaving.session, { intent: 'finish' });
    await until(() => leaving.dismissed !== undefined);
  });

  it('is paused once, however often its donor asks', async () => {
    const tab = join();
    await until(() => serves(tab));
    for (let i = 0; i < 10; i++) swarm.intent(tab.session, { intent: 'pause' });
    expect(texts().filter((text) => text.includes('paused'))).toHaveLength(1);
  });
});

describe('Swarm: many tabs that come and go', () => {
  it('leave nothing behind but their totals', async () => {
    const stays = join();
    await until(() => serves(stays));
    for (let i = 0; i < 300; i++) {
      const tab = join();
      if (i % 3 === 0) swarm.intent(tab.session, { intent: 'pause' });
      swarm.leave(tab.session, 'vanished');
      swarm.leave(tab.session, 'vanished');
    }
    expect(swarm.peers).toHaveLength(1);
    expect(swarm.departed).toBe(300);
    await until(() => swarm.uncovered() === 0 && stays.session.settled);
    expect(events.all().length).toBeLessThanOrEqual(1000);
  });
});
