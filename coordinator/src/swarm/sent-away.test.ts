import { dismissedSchema, helloReplySchema } from '@shoal/protocol';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { JoinRefused } from '../access/join-refused.ts';
import { EventLog } from '../base/event-log.ts';
import { type SentAway, type SentAwayTab, sendAway } from './sent-away.ts';
import { Swarm } from './swarm.ts';
import { FakeTab, serves, smallSwarm } from './testing/fake-tab.ts';

let swarm: Swarm;
let why: (tab: SentAwayTab) => SentAway | undefined;
const until = (condition: () => boolean): Promise<void> => vi.waitFor(() => expect(condition()).toBe(true), 90_000);
const join = (donorToken: string): FakeTab => FakeTab.join(swarm, { donorToken }).connect(swarm);

beforeEach(() => {
  why = () => undefined;
  swarm = new Swarm({
    ...smallSwarm(),
    events: new EventLog(),
    sentAway: (tab) => why(tab),
    timings: { joinDelayMs: 1, leaveDelayMs: 5, peerDrainTimeoutMs: 2_000 },
  });
});
afterEach(() => swarm.close());

/** How joining again is refused. */
function refusal(donorToken: string): JoinRefused {
  try {
    join(donorToken);
  } catch (error) {
    if (error instanceof JoinRefused) return error;
    throw error;
  }
  return expect.unreachable('should have been refused');
}

it('a removed donor is told why and until when, and is refused the same way when it tries again', async () => {
  const [a, b] = [join('a'), join('b')];
  await until(() => serves(a) || serves(b));
  const untilMs = Date.now() + 3_600_000;
  why = ({ donorId }) => (donorId === a.session.donorId ? { code: 'removed', reason: 'Noise', untilMs } : undefined);
  sendAway(swarm, why);
  expect(dismissedSchema.parse(a.dismissed)).toMatchObject({ code: 'removed', reason: 'Noise', untilMs, retry: false });
  expect(a.dismissed!.message).toMatch(/^The operator keeps .* until \d{4}-.* UTC\. The operator says: Noise\.$/);
  expect([a.session.state, b.dismissed]).toEqual(['gone', undefined]);
  const { code, message, more } = refusal('a');
  expect(helloReplySchema.parse({ ok: false, code, message, ...more })).toMatchObject({ code: 'removed', untilMs });
  expect(more.retryAfterMs).toBeUndefined();
  why = () => undefined;
  expect(join('a').session.state).not.toBe('gone');
});

it('drained tabs rest once others have taken over, are told kindly, and come back by themselves', async () => {
  const [a, b] = [join('a'), join('b')];
  await until(() => serves(a) && serves(b));
  why = ({ donorId }) =>
    donorId === a.session.donorId ? { code: 'drained', reason: '', untilMs: Number.POSITIVE_INFINITY } : undefined;
  sendAway(swarm, why);
  expect([a.session.state, a.dismissed]).toEqual(['draining', undefined]);
  await until(() => a.dismissed !== undefined);
  expect(swarm.uncovered()).toBe(0);
  expect(dismissedSchema.parse(a.dismissed)).toMatchObject({ code: 'drained', retry: true });
  expect(a.dismissed!.retryAfterMs).toBeGreaterThanOrEqual(60_000);
  expect(a.dismissed!.message).toContain('Thank you');
  expect(refusal('a')).toMatchObject({ code: 'drained', more: { retryAfterMs: expect.any(Number) } });
});

it('all tabs can be drained, though nobody is left to take over', async () => {
  const tabs = [join('a'), join('b')];
  await until(() => tabs.every(serves));
  why = () => ({ code: 'drained', reason: '', untilMs: Number.POSITIVE_INFINITY });
  sendAway(swarm, why);
  await until(() => tabs.every(({ dismissed }) => dismissed?.code === 'drained'));
  expect(swarm.peers).toEqual([]);
});
