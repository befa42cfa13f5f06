import { beforeEach, describe, expect, it, vi } from 'vitest';
import { Access } from './access.ts';
import { DonorDoor } from './donor-door.ts';
import { JoinRefused } from './join-refused.ts';
import { accessFixture, entry } from './testing/fixtures.ts';

const { open, write } = accessFixture();
let nowMs = 0;
const clock = (): number => nowMs;
beforeEach(() => (nowMs = 0));

describe('DonorDoor', () => {
  const caller = (donor: string, more: object = {}) => ({ address: '10.0.0.1', donorToken: donor, ...more });
  const refusal = (work: () => unknown): JoinRefused => {
    try {
      work();
    } catch (error) {
      if (error instanceof JoinRefused) return error;
      throw error;
    }
    return expect.unreachable('should have been turned away');
  };

  it('lets anyone in without a file', () => {
    const door = new DonorDoor(new Access({}), { clock });
    for (let tab = 0; tab < 16; tab++) expect(door.enter(caller(`tab-${tab}`)).invite).toBeUndefined();
  });

  it('requires an invitation that is known, has room and has not expired', () => {
    const invites = [
      entry('class', 'for-class', { maxPeers: 2 }),
      entry('old', 'for-old', { expires: '2020-01-01T00:00:00Z' }),
    ];
    const door = new DonorDoor(open({ invites }), { clock, dateMs: () => Date.UTC(2026, 0) });
    expect(refusal(() => door.enter(caller('a')))).toMatchObject({ code: 'invite' });
    expect(refusal(() => door.enter(caller('a', { inviteToken: 'guess-guess' }))).message).toContain('unknown');
    expect(refusal(() => door.enter(caller('a', { inviteToken: 'for-old' }))).message).toContain('expired');
    const first = door.enter(caller('a', { inviteToken: 'for-class' }));
    expect(first.invite).toBe('class');
    door.enter(caller('b', { inviteToken: 'for-class' }));
    expect(refusal(() => door.enter(caller('c', { inviteToken: 'for-class' }))).message).toContain('2 tabs at a time');
    // A donor that rejoins before its old socket is closed takes no second place.
    const again = door.enter(caller('a', { inviteToken: 'for-class' }));
    first.leave();
    first.leave();
    expect(refusal(() => door.enter(caller('c', { inviteToken: 'for-class' }))).code).toBe('invite');
    again.leave();
    door.enter(caller('c', { inviteToken: 'for-class' }));
  });

  it('limits the tabs of one donor, and lets each of them rejoin', () => {
    const door = new DonorDoor(open({ limits: { tabsPerDonor: 2, peersPerAddress: 3 } }), { clock });
    const first = door.enter(caller('a', { tab: 0 }));
    door.enter(caller('a', { tab: 1 }));
    expect(refusal(() => door.enter(caller('a', { tab: 2 })))).toMatchObject({
      code: 'limit',
      message: 'Your browser already has 2 tabs in the swarm, which is the limit.',
    });
    // A reload, before the old socket is closed.
    door.enter(caller('a', { tab: 0 }));
    door.enter(caller('b'));
    expect(refusal(() => door.enter(caller('c'))).message).toContain('Your network address already has 3 tabs');
    first.leave();
    // It was in twice, so one place is still taken.
    expect(refusal(() => door.enter(caller('a', { tab: 2 }))).code).toBe('limit');
  });

  it('limits the tabs and joins of one address without affecting others', () => {
    const door = new DonorDoor(open({ limits: { peersPerAddress: 2, joinsPerMinutePerAddress: 4 } }), { clock });
    const places = [door.enter(caller('a')), door.enter(caller('b'))];
    expect(refusal(() => door.enter(caller('c')))).toMatchObject({ code: 'limit' });
    door.enter(caller('c', { address: '10.0.0.2' }));
    for (const place of places) place.leave();
    door.enter(caller('c')).leave();
    door.enter(caller('c'));
    expect(refusal(() => door.enter(caller('d'))).message).toContain('Too many joins');
    nowMs = 15_000;
    door.enter(caller('d'));
  });

  it('lets a class of 64 return at once, and of those that are not connected no more than that', () => {
    const door = new DonorDoor(open({ limits: { peersPerAddress: 200, joinsPerMinutePerAddress: 200 } }), { clock });
    const places = Array.from({ length: 64 }, (_, i) => door.enter(caller(`tab-${i}`)));
    expect(refusal(() => door.enter(caller('more')))).toMatchObject({
      code: 'limit',
      message: expect.stringContaining('still connecting'),
    });
    door.enter(caller('more', { address: '10.0.0.2' }));
    places[0]!.connected();
    door.enter(caller('more'));
    expect(refusal(() => door.enter(caller('another'))).code).toBe('limit');
    places[1]!.leave();
    door.enter(caller('another'));
  });

  it.each([
    ['of tabs that connect', { peersPerAddress: 200, joinsPerMinutePerAddress: 400 }],
    ['of an address', { peersPerAddress: 64, joinsPerMinutePerAddress: 400 }],
  ])('is not shut by tabs that hold all places %s and never connect', (_, limits) => {
    const door = new DonorDoor(open({ limits }), { clock });
    const gone: number[] = [];
    door.enter(caller('honest')).connected();
    const idle = limits.peersPerAddress === 64 ? 63 : 64;
    for (let i = 0; i < idle; i++) door.enter(caller(`idle-${i}`), () => gone.push(i));
    expect(refusal(() => door.enter(caller('newcomer'))).code).toBe('limit');
    nowMs = 3_001;
    door.enter(caller('newcomer')).connected();
    expect(gone).toEqual([0]);
    // One that comes back itself needs no place of another's.
    door.enter(caller('idle-1'));
    expect(gone).toEqual([0]);
  });

  it('gives nobody’s place to one that has no invitation', () => {
    const invites = [entry('class', 'for-class')];
    const door = new DonorDoor(open({ invites, limits: { peersPerAddress: 1 } }), { clock });
    const makeWay = vi.fn();
    door.enter(caller('a', { inviteToken: 'for-class' }), makeWay);
    nowMs = 3_001;
    expect(refusal(() => door.enter(caller('b', { inviteToken: 'guess-guess' }))).code).toBe('invite');
    expect(makeWay).not.toHaveBeenCalled();
    door.enter(caller('b', { inviteToken: 'for-class' }));
    expect(makeWay).toHaveBeenCalledOnce();
  });

  it('counts no joins of tabs for which there was no room', () => {
    const door = new DonorDoor(open({ limits: { peersPerAddress: 1, joinsPerMinutePerAddress: 2 } }), { clock });
    const place = door.enter(caller('a'));
    for (let i = 0; i < 9; i++) expect(refusal(() => door.enter(caller('b'))).message).toContain('already has 1 tab');
    place.leave();
    door.enter(caller('b'));
  });

  it('counts a home’s IPv6 networks together', () => {
    const door = new DonorDoor(open({ limits: { peersPerAddress: 2 } }), { clock });
    const enter = (network: number): void =>
      door.enter(caller(`tab-${network}`, { address: `2001:db8:1:${network.toString(16)}::1` })).connected();
    for (const network of [0, 1, 2, 3]) enter(network);
    expect(refusal(() => enter(4)).message).toBe('Your network already has 4 tabs in the swarm, which is the limit.');
    for (const network of [0x100, 0x101, 0x102, 0x103]) enter(network);
    expect(refusal(() => enter(0x200)).message).toContain('already has 8 tabs');
    door.enter(caller('neighbour', { address: '2001:db8:2::1' }));
  });

  it('tells which tabs the changed rules would not let in', () => {
    const invites = [entry('a', 'token-of-a'), entry('b', 'token-of-b', { expires: '2020-01-01T00:00:00Z' })];
    const access = open({ invites });
    const door = new DonorDoor(access, { clock, dateMs: () => Date.UTC(2019, 0) });
    const a = door.enter(caller('a', { inviteToken: 'token-of-a' }));
    const b = door.enter(caller('b', { inviteToken: 'token-of-b' }));
    write({ invites: invites.slice(1) });
    access.reload();
    expect([a.allowed(), b.allowed()]).toEqual([false, true]);
    write({});
    access.reload();
    expect([a.allowed(), b.allowed()]).toEqual([true, true]);
  });
});
