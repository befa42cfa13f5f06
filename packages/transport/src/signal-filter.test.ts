import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SignalFilter } from './signal-filter.ts';

const HEAD = 'v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n';
const MEDIA = 'm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=mid:0\r\n';
const host = (address: string, port = 50_000, rest = 'udp 2130706431') =>
  `candidate:1 1 ${rest} ${address} ${port} typ host`;

/** Asks a filter that allows 8.8.8.8 and fd00::7 about one candidate, trickled and in a description. */
function pass(candidate: string): [trickled: string | undefined, described: string] {
  const allows = (address: string) => ['8.8.8.8', 'fd00::7'].includes(address);
  const trickled = new SignalFilter(allows).pass({
    type: 'candidate',
    candidate: { candidate, sdpMid: '0', sdpMLineIndex: 0 },
  });
  const offer = new SignalFilter(allows).pass({ type: 'offer', sdp: `${HEAD}${MEDIA}a=${candidate}\r\n` });
  return [
    trickled?.type === 'candidate' ? trickled.candidate.candidate : undefined,
    offer?.type === 'offer' ? offer.sdp.slice((HEAD + MEDIA).length) : 'not passed on',
  ];
}

describe('SignalFilter', () => {
  it.each([
    host('8.8.8.8'),
    host('8.8.8.8', 1024),
    host('fd00::7', 65_535),
    `${host('8.8.8.8')} generation 0 ufrag abcd network-id 1`,
    'candidate:842163049 1 UDP 1677729535 8.8.8.8 50000 typ srflx raddr 10.0.0.1 rport 50000',
    'candidate:1 1 udp 41885439 8.8.8.8 50000 typ relay raddr 0.0.0.0 rport 0',
  ])('lets through %s, without what is not needed', (candidate) => {
    const expected = /^.* typ \w+/.exec(candidate)![0].replace('UDP', 'udp');
    expect(pass(candidate)).toEqual([expected, `a=${expected}\r\n`]);
  });

  it.each([
    host('8.8.4.4'),
    host('4ef6ec54-2d72-4bd3-8c8a-d0a9f2a6d1a3.local'),
    host('internal.example'),
    host('localhost'),
    host('8.8.8.8', 53),
    host('8.8.8.8', 1023),
    host('8.8.8.8', 65_536),
    host('8.8.8.8', 9, 'tcp 2105458943') + ' tcptype active',
    host('8.8.8.8', 50_000, 'ssltcp 2105458943'),
    host('134744072'),
    host('0x8.8.8.8'),
    host('8.8.8'),
    host('fd00::7%eth0'),
    'candidate:1 1 udp 1 8.8.8.8 50000 typ unknown',
    ' candidate:1 1 udp 1 8.8.8.8 50000 typ host',
    'CANDIDATE:1 1 udp 1 10.0.0.1 50000 typ host',
    'remote-candidates:1 8.8.8.8 50000',
    'rtcp:50000 IN IP4 8.8.8.8',
    '',
  ])('drops %s', (candidate) => {
    expect(pass(candidate)).toEqual([undefined, '']);
  });

  it('passes on nothing that a candidate brings along', () => {
    const second = `a=${host('10.0.0.1')}`;
    expect(pass(`${host('8.8.8.8')}\r\n${second}`)[0]).toBeUndefined();
    expect(pass(`${host('8.8.8.8')} generation 0\r\n${second}`)[0]).toBe(host('8.8.8.8'));
  });

  it.each(['\n', '\r\n', '\r', '\n\r\n'])('finds every line of a description, whatever separates them (%j)', (end) => {
    const lines = [...`${HEAD}${MEDIA}`.trim().split('\r\n'), `a=${host('10.0.0.1')}`, ` a=${host('10.0.0.1')}`, 'i=x'];
    const offer = new SignalFilter((address) => address !== '10.0.0.1').pass({ type: 'offer', sdp: lines.join(end) });
    expect(offer).toEqual({ type: 'offer', sdp: `${HEAD}${MEDIA}` });
  });

  it('leaves nothing else in a description, whatever it is made of', () => {
    const part = fc.oneof(
      fc.constantFrom(
        'a=',
        'c=',
        'candidate:1 1 udp 1 ',
        '10.0.0.1',
        ' 50000 typ host',
        'remote-candidates:',
        '\r',
        '\n',
        ' ',
      ),
      fc.constantFrom(...`${HEAD}${MEDIA}a=${host('8.8.8.8')}\r\na=${host('10.0.0.1')}`.split(/(?=\r\n|[ =:])/)),
      fc.string({ unit: 'binary', maxLength: 4 }),
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 60 }), (parts) => {
        const offer = new SignalFilter((address) => address === '8.8.8.8').pass({ type: 'offer', sdp: parts.join('') });
        const { sdp } = offer as { sdp: string };
        for (const line of sdp.split('\r\n').slice(0, -1)) {
          expect(line).not.toMatch(/[\r\n]/);
          if (/^a=(remote-)?candidate/i.test(line)) expect(line).toContain(' 8.8.8.8 ');
          if (line.startsWith('c=')) expect(line).toBe('c=IN IP4 0.0.0.0');
        }
      }),
      { numRuns: 500 },
    );
  });

  it('gives no address but those of candidates', () => {
    const sdp = `${HEAD}m=application 50000 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 10.0.0.1/127\r\n`;
    const offer = new SignalFilter(() => true).pass({ type: 'answer', sdp });
    expect(offer).toMatchObject({
      sdp: expect.stringMatching(/webrtc-datachannel\r\nc=IN IP4 0\.0\.0\.0\r\n$/) as string,
    });
  });

  it('takes 8 candidates of each connection, and does not count those that it drops', () => {
    const filter = new SignalFilter((address) => address !== '10.0.0.1');
    const lines = ['10.0.0.1', '8.8.8.8', '8.8.8.8', '10.0.0.1', '8.8.8.8'].map((address) => `a=${host(address)}\r\n`);
    const offer = filter.pass({ type: 'offer', sdp: HEAD + lines.join('') });
    expect(offer).toEqual({ type: 'offer', sdp: HEAD + lines.filter((line) => line.includes('8.8.8.8')).join('') });
    const trickle = (connection?: number) =>
      filter.pass({
        type: 'candidate',
        candidate: { candidate: host('8.8.8.8'), sdpMid: '0', sdpMLineIndex: 0 },
        ...(connection !== undefined && { connection }),
      }) !== undefined;
    expect(Array.from({ length: 7 }, () => trickle())).toEqual([true, true, true, true, true, false, false]);
    expect(Array.from({ length: 9 }, () => trickle(1))).toEqual([...Array(8).fill(true), false]);
  });
});
