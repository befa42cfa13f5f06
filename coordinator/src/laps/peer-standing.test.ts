import { encodeRefuse } from '@shoal/protocol';
import { beforeEach, describe, expect, it } from 'vitest';
import type { LapClient } from './lap-client.ts';
import { combine, failureOf, LapClientRig, someItem, type TestLink } from './testing/lap-client-rig.ts';

let rig: LapClientRig;
let laps: LapClient;
let link: TestLink;
const lapOf = (lapMs: number, meter?: { frameBytes: number }): Promise<void> => rig.lapOf(lapMs, meter);

beforeEach(() => {
  rig = new LapClientRig();
  ({ laps, link } = rig);
});

describe('PeerStanding.expected', () => {
  it('is a try at first, then follows its laps, and adds what is in flight', async () => {
    expect(laps.expected).toEqual({ standing: 'try', fixedMs: 0, perAssignmentMs: 0 });
    for (let i = 0; i < 40; i++) await lapOf(20);
    const { standing, fixedMs, perAssignmentMs } = laps.expected;
    expect(standing).toBe('known');
    const assignments = someItem().experts.length;
    expect(fixedMs + perAssignmentMs * assignments).toBeCloseTo(20);
    const pending = laps.ask(someItem(), { deadlineMs: 1_000 });
    expect(laps.expected.fixedMs).toBeCloseTo(fixedMs + perAssignmentMs * assignments);
    laps.receive(combine(link.lapId()));
    await pending;
    expect(laps.expected.fixedMs).toBeCloseTo(fixedMs);
    rig.nowMs += 60_000;
    expect(laps.expected.standing).toBe('try');
  });

  it('says avoid for a while after a failure, so that a replica is asked first', async () => {
    await lapOf(10);
    const refused = failureOf(laps.ask(someItem()));
    laps.receive(encodeRefuse({ lapId: link.lapId(), reason: 'failed' }));
    await refused;
    expect(laps.expected.standing).toBe('avoid');
    rig.nowMs += 3_001;
    expect(laps.expected.standing).toBe('try');
    await lapOf(10);
    expect(laps.expected.standing).toBe('known');
  });

  it('says avoid for longer while the peer gives no sign of life, so that a frozen tab holds no stream up again', async () => {
    await lapOf(10);
    await failureOf(laps.ask(someItem(), { deadlineMs: 1 }));
    rig.nowMs += 3_001;
    expect(laps.expected.standing).toBe('avoid');
    // The answer to a heartbeat.
    link.bytesReceived += 4;
    expect(laps.expected.standing).toBe('try');

    const { result, overtaken } = laps.attempt(someItem(), { deadlineMs: 1 });
    overtaken('peer');
    await failureOf(result);
    rig.nowMs += 3_001;
    expect(laps.expected.standing).toBe('avoid');
    // By then unanswered heartbeats would have closed the link.
    rig.nowMs += 7_000;
    expect(laps.expected.standing).toBe('try');
  });
});
