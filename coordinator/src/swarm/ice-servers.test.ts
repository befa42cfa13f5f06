import { createHmac } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { IceServers, TURN_LOGIN_MS } from './ice-servers.ts';

const SECRET = 'a secret of the TURN server';
const STUN = { urls: 'stun:shoal.example.org:3478' };
const TURN = { urls: ['turn:shoal.example.org:3478', 'turn:shoal.example.org:3478?transport=tcp'] };
const NOW = new Date('2026-11-30T12:00:00Z');

describe('IceServers', () => {
  it('gives each donor a TURN login of its own, which ends and which the secret proves', () => {
    const servers = new IceServers([STUN, TURN], SECRET);
    const [stun, turn] = servers.forDonor('donor-a', NOW);
    expect(stun).toEqual(STUN);
    const [expiry, name] = turn!.username!.split(':');
    expect(Number(expiry)).toBe(Math.floor((NOW.getTime() + TURN_LOGIN_MS) / 1000));
    expect(turn!.credential).toBe(createHmac('sha1', SECRET).update(turn!.username!).digest('base64'));
    const later = new Date(NOW.getTime() + 60_000);
    const again = servers.forDonor('donor-a', later)[1]!.username!.split(':');
    expect([again[1] === name, again[0] === expiry]).toEqual([true, false]);
    expect(servers.forDonor('donor-b', NOW)[1]!.username).not.toContain(name);
    expect(JSON.stringify(servers.forDonor('donor-a', NOW))).not.toMatch(/donor-a|a secret/);
  });

  it('keeps a login that is given, and gives none to STUN', () => {
    const given = { ...TURN, username: 'shoal', credential: 'password' };
    expect(new IceServers([STUN, given], SECRET).forDonor('donor-a', NOW)).toEqual([STUN, given]);
    expect(new IceServers([STUN, given]).forDonor('donor-a', NOW)).toEqual([STUN, given]);
  });

  it('refuses a TURN server without a login, which would break every tab', () => {
    expect(() => new IceServers([STUN, TURN])).toThrow('--ice-servers: turn:shoal.example.org:3478 needs a username');
    expect(() => new IceServers([STUN])).not.toThrow();
  });

  it('leaves relays out for the coordinator’s own end', () => {
    expect(new IceServers([STUN, TURN, { urls: [STUN.urls, ...TURN.urls] }], SECRET).withoutRelays()).toEqual([
      { urls: [STUN.urls] },
      { urls: [STUN.urls] },
    ]);
  });
});
