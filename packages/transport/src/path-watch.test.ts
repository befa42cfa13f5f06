import type { Signal } from '@shoal/protocol';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { PathWatch } from './path-watch.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** As much of an RTCPeerConnection as is watched. */
class FakeConnection extends EventTarget {
  iceConnectionState = 'checking';
  stats: object[] = [];
  getStats = async (): Promise<object[]> => this.stats;

  tell(type: string, fields: object): void {
    this.dispatchEvent(Object.assign(new Event(type), fields));
  }
  offer(type: string): void {
    this.tell('icecandidate', { candidate: { candidate: `candidate:1 1 udp 1 203.0.113.9 4000 typ ${type}` } });
  }
}

function watched(...urls: string[]): { pc: FakeConnection; watch: PathWatch } {
  const pc = new FakeConnection();
  return { pc, watch: new PathWatch(pc as unknown as RTCPeerConnection, urls.length > 0 ? [{ urls }] : []) };
}
const candidate = (text: string): Signal => ({
  type: 'candidate',
  candidate: { candidate: text, sdpMid: '0', sdpMLineIndex: 0 },
});

describe('PathWatch', () => {
  it('counts candidates of both sides, and remembers where the other is', () => {
    const { pc, watch } = watched();
    for (const type of ['host', 'host', 'srflx']) pc.offer(type);
    pc.tell('icecandidate', { candidate: null });
    watch.heard(candidate('candidate:1 1 UDP 1 10.0.0.2 40000 typ host'));
    watch.heard({
      type: 'answer',
      sdp: 'v=0\r\na=candidate:2 1 UDP 1 fd00::2 40000 typ host\r\na=end-of-candidates\r\n',
    });
    const { own, theirs, turn } = watch.facts();
    expect({ own, theirs, turn }).toEqual({
      own: { host: 2, srflx: 1, relay: 0 },
      theirs: { host: 2, srflx: 0, relay: 0 },
      turn: { state: 'none' },
    });
    expect(watch.addresses).toEqual(['10.0.0.2:40000', '[fd00::2]:40000']);
    watch.close();
  });

  it('says what a TURN server answered, a refusal before silence', () => {
    const { pc, watch } = watched('turn:a', 'turns:b?transport=tcp');
    expect(watch.facts().turn).toEqual({ state: 'silent' });
    pc.tell('icecandidateerror', { url: 'stun:a', errorCode: 401 });
    pc.tell('icecandidateerror', { url: 'turn:a', errorCode: 701 });
    expect(watch.facts().turn).toEqual({ state: 'silent' });
    pc.tell('icecandidateerror', { url: 'turns:b', errorCode: 401 });
    pc.tell('icecandidateerror', { url: 'turn:a', errorCode: 701 });
    expect(watch.facts().turn).toEqual({ state: 'refused', code: 401 });
    pc.offer('relay');
    expect(watch.facts().turn).toEqual({ state: 'answered' });
    watch.close();
  });

  it('sums up the checks of all pairs where a browser counts them', async () => {
    const { pc, watch } = watched();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(watch.facts().checks).toBeUndefined();
    const pair = { type: 'candidate-pair', requestsSent: 5, responsesReceived: 0, requestsReceived: 2 };
    pc.stats = [{ type: 'transport' }, pair, { ...pair, requestsReceived: undefined }];
    await vi.advanceTimersByTimeAsync(1_000);
    expect(watch.facts()).toMatchObject({ checks: { sent: 10, answered: 0, heard: 2 } });
    watch.close();
    expect(vi.getTimerCount()).toBe(0);
  });

  it('knows when a way was found', () => {
    const { pc, watch } = watched();
    expect(watch.isFound).toBe(false);
    pc.iceConnectionState = 'connected';
    pc.tell('iceconnectionstatechange', {});
    expect(watch.isFound).toBe(true);
    watch.close();
  });
});
