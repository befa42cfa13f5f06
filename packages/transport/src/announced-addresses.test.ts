import type { Signal } from '@shoal/protocol';
import { describe, expect, it } from 'vitest';
import { AnnouncedAddresses } from './announced-addresses.ts';

const candidate = (text: string, connection?: number): Signal => ({
  type: 'candidate',
  candidate: { candidate: text, sdpMid: '0', sdpMLineIndex: 0 },
  ...(connection !== undefined && { connection }),
});
const texts = (signals: Signal[]): string[] =>
  signals.map((signal) => (signal.type === 'candidate' ? signal.candidate.candidate : signal.sdp));

describe('AnnouncedAddresses', () => {
  it('puts the announced addresses in place of this machine’s own, with the same port', () => {
    const announced = new AnnouncedAddresses(['203.0.113.7', '2001:db8::7']);
    expect(texts(announced.rewrite(candidate('candidate:1 1 UDP 2114977791 172.17.0.2 40000 typ host')))).toEqual([
      'candidate:1 1 UDP 2114977791 203.0.113.7 40000 typ host',
      'candidate:11 1 UDP 2114977790 2001:db8::7 40000 typ host',
    ]);
  });

  it('tells each address once for a connection and port, whatever addresses this machine has', () => {
    const announced = new AnnouncedAddresses(['203.0.113.7']);
    const told = (port: number, connection?: number): number =>
      announced.rewrite(candidate(`candidate:2 1 UDP 2116026111 fd00::2 ${port} typ host`, connection)).length;
    expect([told(40000), told(40000), told(40001), told(40000, 1), told(40000, 1)]).toEqual([1, 0, 1, 1, 0]);
  });

  it('leaves what a STUN server told', () => {
    const text = 'candidate:3 1 UDP 1678769919 198.51.100.9 41000 typ srflx raddr 0.0.0.0 rport 0';
    expect(texts(new AnnouncedAddresses(['203.0.113.7']).rewrite(candidate(text)))).toEqual([text]);
  });

  it('rewrites the candidates inside a description, and nothing else of it', () => {
    const sdp = (lines: string[]): string =>
      ['v=0', 'm=application 9 UDP/DTLS/SCTP webrtc-datachannel', ...lines, 'a=end-of-candidates', ''].join('\r\n');
    const own = ['172.17.0.2', '10.0.0.5'].map((address) => `a=candidate:1 1 UDP 21149 ${address} 40000 typ host`);
    const announced = new AnnouncedAddresses(['203.0.113.7']);
    expect(texts(announced.rewrite({ type: 'answer', sdp: sdp(own) }))).toEqual([
      sdp(['a=candidate:1 1 UDP 21149 203.0.113.7 40000 typ host']),
    ]);
  });
});
