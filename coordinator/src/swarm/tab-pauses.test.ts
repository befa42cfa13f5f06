import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { promiseSchema } from '@shoal/protocol';
import { EventLog } from '../base/event-log.ts';
import { Swarm } from './swarm.ts';
import { EXPERTS, FakeTab, helloOf, LAYERS, serves, smallSwarm } from './testing/fake-tab.ts';

let swarm: Swarm;
let events: EventLog;

function makeSwarm(): Swarm {
  events = new EventLog();
  return new Swarm({ ...smallSwarm(), events, timings: { joinDelayMs: 1, leaveDelayMs: 5 } });
}

beforeEach(() => {
  swarm = makeSwarm();
});
afterEach(() => swarm.close());

const ALL = LAYERS.length * EXPERTS;
const HOUR_MS = 3_600_000;
const REST = { share: 1, rest: { why: 'schedule', forMs: 9 * HOUR_MS } } as const;
const join = (options?: Parameters<typeof FakeTab.join>[1]): FakeTab => FakeTab.join(swarm, options).connect(swarm);
const until = (condition: () => boolean): Promise<void> => vi.waitFor(() => expect(condition()).toBe(true), 90_000);

describe('a tab that rests by its limits', () => {
  it('gives what it has to others, is not sent away, and serves the same again when it goes on', async () => {
    const resting = join({ donorToken: 'a' });
    await until(() => serves(resting));
    const other = join({ donorToken: 'b' });
    swarm.promise(resting.session, REST);
    expect(resting.session.state).toBe('resting');
    expect(resting.session.serving).toBe(false);
    await until(() => serves(other) && swarm.uncovered() === 0);
    expect(resting.dismissed).toBeUndefined();
    expect(events.all().some(({ text }) => text.includes('by its donor’s limits: its hours are over'))).toBe(true);
    swarm.leave(other.session, 'went away');
    swarm.promise(resting.session, { share: 1 });
    await until(() => serves(resting));
    expect(resting.session.live.size).toBe(ALL);
    // It had kept them: nothing was assigned or tested anew.
    expect(resting.session.tests.size).toBe(0);
    expect(resting.laps).toBe(LAYERS.length);
  });

  it('when it joins is assigned nothing until it goes on, also after the coordinator was restarted', async () => {
    const hello = { ...helloOf('a', 100), promise: REST };
    for (let start = 0; start < 2; start++) {
      const tab = new FakeTab();
      tab.session = swarm.join(hello, '127.0.0.1', {
        assign: (message) => {
          tab.assigned.push(message);
          queueMicrotask(() => tab.ready(swarm));
        },
        standing: () => {},
        dismiss: (message) => (tab.dismissed = message),
      });
      tab.connect(swarm);
      const other = join({ donorToken: 'b', experts: 4 });
      await until(() => serves(other));
      expect(tab.session.state).toBe('resting');
      expect(tab.assigned).toEqual([]);
      swarm.promise(tab.session, { share: 1 });
      await until(() => serves(tab));
      swarm.close();
      swarm = makeSwarm();
    }
  });

  it('and is paused too goes on only when both are over', async () => {
    const tab = join();
    await until(() => serves(tab));
    swarm.promise(tab.session, REST);
    swarm.intent(tab.session, { intent: 'pause' });
    expect(tab.session.state).toBe('paused');
    swarm.intent(tab.session, { intent: 'resume' });
    expect(tab.session.state).toBe('resting');
    swarm.promise(tab.session, { share: 1 });
    expect(tab.session.state).toBe('waiting');
  });

  it('that announces its rest serves on, while others load what it has', async () => {
    const tab = join({ donorToken: 'a' });
    await until(() => serves(tab));
    const other = join({ donorToken: 'b' });
    swarm.promise(tab.session, { share: 1, restsInMs: 100_000 });
    await until(() => serves(other) && other.session.live.size === ALL);
    expect(tab.session.serving).toBe(true);
  });

  it('cannot use it to have tests made again without end, or to flood the coordinator', async () => {
    const tab = join();
    await until(() => serves(tab));
    for (let i = 0; i < 40 && !tab.dismissed; i++) swarm.promise(tab.session, i % 2 ? { share: 1 } : REST);
    expect(tab.dismissed).toMatchObject({
      code: 'removed',
      message: 'The tab changed its limits too often within a minute.',
    });
  });

  it('counts by its share where the placement weighs speeds', async () => {
    const tab = join();
    await until(() => serves(tab));
    swarm.promise(tab.session, { share: 0.25 });
    expect(tab.session.measured.share).toBe(0.25);
    expect(tab.session.serving).toBe(true);
  });
});

describe('a promise from a stranger', () => {
  it.each([
    { share: 0 },
    { share: 0.01 },
    { share: 2 },
    { share: Number.NaN },
    { share: 1, rest: { why: 'because' } },
    { share: 1, rest: { why: 'schedule', forMs: -1 } },
    { share: 1, rest: { why: 'schedule', forMs: 1e12 } },
    { share: 1, restsInMs: 0.5 },
  ])('%j is refused', (promise) => {
    expect(promiseSchema.safeParse(promise).success).toBe(false);
  });
});
