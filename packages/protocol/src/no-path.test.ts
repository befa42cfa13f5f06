import { describe, expect, it } from 'vitest';
import { explainNoPath, type NoPath, noPathSchema } from './no-path.ts';

const some = { host: 2, srflx: 0, relay: 0 };
const none = { host: 0, srflx: 0, relay: 0 };
const facts = (more: Partial<NoPath> = {}): NoPath => ({
  waitedMs: 15_000,
  own: some,
  theirs: some,
  checks: { sent: 40, answered: 0, heard: 0 },
  turn: { state: 'none' },
  ...more,
});

describe('explainNoPath', () => {
  it.each<[code: string, measured: Partial<NoPath>, operator: RegExp]>([
    ['no-own', { own: none }, /extension or a policy/],
    ['no-theirs', { theirs: none }, /--announce/],
    ['handshake', { checks: { sent: 9, answered: 3, heard: 2 } }, /DTLS/],
    ['one-way', { checks: { sent: 9, answered: 0, heard: 2 } }, /don't come in/],
    ['no-udp', {}, /only TCP is forwarded.*--udp-ports/],
    ['no-udp', { checks: undefined }, /no TURN server is set up/],
    ['relay-silent', { turn: { state: 'silent' } }, /did not answer/],
    ['relay-refused', { turn: { state: 'refused', code: 401 } }, /--turn-secret/],
    ['relay-refused', { turn: { state: 'refused', code: 486 } }, /quotas/],
    ['relay-dead-end', { turn: { state: 'answered' } }, /allowed-peer-ip/],
  ])('names the cause %s by what was measured, and tells both what to do', (code, measured, operator) => {
    const { code: found, happened, donor, operator: told } = explainNoPath(facts(measured));
    expect(found).toBe(code);
    expect(told).toMatch(operator);
    for (const text of [happened, donor, told]) expect(text).toMatch(/^[A-Z\d].*[.)]$/);
  });

  it('names what was sent where, and that a private address leads nowhere from outside', () => {
    const told = (...where: string[]) => explainNoPath(facts(), where);
    expect(told('172.17.0.2:40000').happened).toContain(
      '40 UDP packets were sent, and none came back from 172.17.0.2:40000',
    );
    expect(told('172.17.0.2:40000', '[fd00::2]:40000').operator).toContain('private network only');
    expect(told('203.0.113.7:40000', '10.0.0.2:40000').operator).not.toContain('private network only');
  });
});

describe('noPathSchema', () => {
  it('takes what a page measured, and no texts', () => {
    expect(noPathSchema.parse(facts({ turn: { state: 'refused', code: 401 } }))).toBeTruthy();
    for (const wrong of [{ waitedMs: -1 }, { own: { host: 1e9, srflx: 0, relay: 0 } }, { turn: { state: 'refused' } }])
      expect(noPathSchema.safeParse({ ...facts(), ...wrong }).success).toBe(false);
  });
});
