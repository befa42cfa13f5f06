import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { Access } from './access.ts';
import { addressKey, clientAddress } from '../base/address.ts';
import { ApiKeys, formatReset, KeyUse, RateLimitError } from './api-keys.ts';
import { DonorDoor, DoorError } from './donor-door.ts';
import { SignInGuard, UNAUTHORIZED } from './sign-in.ts';
import { SocketGuard } from './sockets.ts';
import { KeyedBuckets, TokenBucket } from './token-bucket.ts';
import { digestOf } from './token.ts';

const path = join(mkdtempSync(join(tmpdir(), 'shoal-access-')), 'access.json');
const entry = (name: string, token: string, more: object = {}) => ({
  name,
  sha256: digestOf(token).toString('hex'),
  ...more,
});
const write = (contents: object): void => writeFileSync(path, JSON.stringify(contents), { mode: 0o600 });

let nowMs = 0;
const clock = (): number => nowMs;
beforeEach(() => (nowMs = 0));

function open(contents: object, adminToken?: string): Access {
  write(contents);
  return new Access({ file: path, adminToken });
}

describe('addresses', () => {
  const request = (remoteAddress: string, forwarded?: string) => ({
    socket: { remoteAddress },
    headers: forwarded === undefined ? {} : { 'x-forwarded-for': forwarded },
  });

  it('are the socket’s, whatever a header says, unless the proxy is trusted', () => {
    expect(clientAddress(request('::ffff:10.0.0.7', '1.2.3.4'), false)).toBe('10.0.0.7');
    expect(clientAddress(request('127.0.0.1', '6.6.6.6, 1.2.3.4'), true)).toBe('1.2.3.4');
    expect(clientAddress(request('127.0.0.1', '[2001:db8::1]:443'), true)).toBe('2001:db8::1');
    expect(clientAddress(request('127.0.0.1', '1.2.3.4:5678'), true)).toBe('1.2.3.4');
  });

  it('fall back to the socket’s where the proxy says nothing that is one', () => {
    for (const header of [undefined, '', 'unknown', '1.2.3.4,', 'a'.repeat(10_000)]) {
      expect(clientAddress(request('127.0.0.1', header), true)).toBe('127.0.0.1');
    }
  });

  it('of IPv6 count by their network', () => {
    expect(addressKey('2001:db8:1:2:3:4:5:6')).toBe('2001:db8:1:2::/64');
    expect(addressKey('2001:0db8:1:2::9')).toBe('2001:db8:1:2::/64');
    expect(addressKey('2001:db8::9')).toBe('2001:db8:0:0::/64');
    expect(addressKey('::1')).toBe('0:0:0:0::/64');
    expect(addressKey('64:ff9b::1.2.3.4')).toBe('64:ff9b:0:0::/64');
    expect(addressKey('1.2.3.4')).toBe('1.2.3.4');
  });
});

describe('a token bucket', () => {
  it('gives its capacity at once and then as much in every period', () => {
    const bucket = new TokenBucket(3, 60_000, clock);
    expect([bucket.take(), bucket.take(), bucket.take()]).toEqual([0, 0, 0]);
    expect(bucket.take()).toBe(20_000);
    nowMs = 19_999;
    expect(bucket.take()).toBeGreaterThan(0);
    nowMs = 20_000;
    expect(bucket.take()).toBe(0);
    nowMs = 1e9;
    expect(bucket.level).toBe(3);
  });

  it('gives what exceeds it when it is full, and remembers the debt', () => {
    const bucket = new TokenBucket(10, 10_000, clock);
    expect(bucket.take(25)).toBe(0);
    expect(bucket.take(1)).toBe(16_000);
    nowMs = 16_000;
    expect(bucket.take(1)).toBe(0);
  });

  it('of an address that has been idle longest goes first when there are too many', () => {
    const buckets = new KeyedBuckets(1, 60_000, { clock, maxKeys: 2 });
    buckets.of('a').take();
    buckets.of('b').take();
    buckets.of('a');
    buckets.of('c');
    expect(buckets.of('a').level).toBe(0);
    expect(buckets.of('b').level).toBe(1);
  });
});

describe('the donors’ door', () => {
  const caller = (donor: string, more: object = {}) => ({ address: '10.0.0.1', donorToken: donor, ...more });
  const refusal = (work: () => unknown): DoorError => {
    try {
      work();
    } catch (error) {
      if (error instanceof DoorError) return error;
      throw error;
    }
    return expect.unreachable('should have been turned away');
  };

  it('is open without a file', () => {
    const door = new DonorDoor(new Access({}), { clock });
    for (let tab = 0; tab < 16; tab++) expect(door.enter(caller(`tab-${tab}`)).invite).toBeUndefined();
  });

  it('wants an invitation that is known, fits, and has not expired', () => {
    const invites = [
      entry('class', 'for-class', { maxPeers: 2 }),
      entry('old', 'for-old', { expires: '2020-01-01T00:00:00Z' }),
    ];
    const door = new DonorDoor(open({ invites }), { clock, dateMs: () => Date.UTC(2026, 0) });
    expect(refusal(() => door.enter(caller('a')))).toMatchObject({ reason: 'invite' });
    expect(refusal(() => door.enter(caller('a', { inviteToken: 'guess-guess' }))).message).toContain('known');
    expect(refusal(() => door.enter(caller('a', { inviteToken: 'for-old' }))).message).toContain('expired');
    const first = door.enter(caller('a', { inviteToken: 'for-class' }));
    expect(first.invite).toBe('class');
    door.enter(caller('b', { inviteToken: 'for-class' }));
    expect(refusal(() => door.enter(caller('c', { inviteToken: 'for-class' }))).message).toContain('2 at a time');
    // The same donor again, before its old socket is gone, takes no further place.
    const again = door.enter(caller('a', { inviteToken: 'for-class' }));
    first.leave();
    first.leave();
    expect(refusal(() => door.enter(caller('c', { inviteToken: 'for-class' }))).reason).toBe('invite');
    again.leave();
    door.enter(caller('c', { inviteToken: 'for-class' }));
  });

  it('counts the tabs of one donor, and lets each of them come back', () => {
    const door = new DonorDoor(open({ limits: { tabsPerDonor: 2, peersPerAddress: 3 } }), { clock });
    const first = door.enter(caller('a', { tab: 0 }));
    door.enter(caller('a', { tab: 1 }));
    expect(refusal(() => door.enter(caller('a', { tab: 2 })))).toMatchObject({
      reason: 'limit',
      message: 'Your browser has its 2 tabs in the swarm already.',
    });
    // A reload, before the old socket is gone.
    door.enter(caller('a', { tab: 0 }));
    door.enter(caller('b'));
    expect(refusal(() => door.enter(caller('c'))).message).toContain('Your network address has its 3 tabs');
    first.leave();
    // It is in twice: once is left.
    expect(refusal(() => door.enter(caller('a', { tab: 2 }))).reason).toBe('limit');
  });

  it('limits the tabs and the joins of one address, not of others', () => {
    const door = new DonorDoor(open({ limits: { peersPerAddress: 2, joinsPerMinutePerAddress: 4 } }), { clock });
    const places = [door.enter(caller('a')), door.enter(caller('b'))];
    expect(refusal(() => door.enter(caller('c')))).toMatchObject({ reason: 'limit' });
    door.enter(caller('c', { address: '10.0.0.2' }));
    for (const place of places) place.leave();
    door.enter(caller('c'));
    expect(refusal(() => door.enter(caller('d'))).message).toContain('too often');
    nowMs = 15_000;
    door.enter(caller('d'));
  });

  it('tells who would no longer be let in when the rules change', () => {
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

describe('the console’s door', () => {
  it('knows the admins of the file and the one of the command line', () => {
    const access = open({ admins: [entry('vera', 'token-of-vera', { role: 'viewer' })] }, 'of-the-flag');
    const guard = new SignInGuard(access, clock);
    expect(guard.signIn('10.0.0.1', 'token-of-vera')).toMatchObject({
      ok: true,
      admin: { name: 'vera', role: 'viewer' },
    });
    expect(guard.signIn('10.0.0.1', 'of-the-flag')).toMatchObject({ ok: true, admin: { role: 'operator' } });
    for (const token of [undefined, null, 7, {}, '', 'token-of-Vera']) {
      expect(guard.signIn('10.0.0.1', token)).toEqual({ ok: false, message: UNAUTHORIZED });
    }
  });

  it('closes for a while to an address that guesses, also for the right token, and to no other', () => {
    const guard = new SignInGuard(new Access({ adminToken: 'right-token' }), clock);
    for (let guess = 0; guess < 10; guess++) guard.signIn('10.0.0.1', `guess ${guess}`);
    expect(guard.signIn('10.0.0.1', 'right-token')).toMatchObject({
      ok: false,
      message: expect.stringContaining('6 s'),
    });
    expect(guard.signIn('10.0.0.2', 'right-token').ok).toBe(true);
    nowMs = 6_000;
    expect(guard.signIn('10.0.0.1', 'right-token').ok).toBe(true);
  });
});

it('sockets of one address are limited in how fast they are opened', () => {
  const guard = new SocketGuard(open({ limits: { joinsPerMinutePerAddress: 1 } }), clock);
  const refusals = Array.from({ length: 70 }, () => guard.refusal('10.0.0.1'));
  expect(refusals.filter((refusal) => refusal === undefined)).toHaveLength(66);
  expect(guard.refusal('10.0.0.2')).toBeUndefined();
  nowMs = 60_000;
  expect(guard.refusal('10.0.0.1')).toBeUndefined();
});

describe('API keys', () => {
  const reasonOf = (work: () => unknown): string => {
    try {
      work();
    } catch (error) {
      return error instanceof RateLimitError ? `${error.reason} ${error.retryAfterS}` : String(error);
    }
    return 'none';
  };

  it('are refused beyond their requests a minute', () => {
    const use = new KeyUse({ name: 'a', digest: digestOf('x'), requestsPerMinute: 2 }, clock);
    use.startRequest();
    use.startRequest();
    expect(reasonOf(() => use.startRequest())).toBe('requests 30');
    expect(use.headers()).toEqual({
      'x-ratelimit-limit-requests': '2',
      'x-ratelimit-remaining-requests': '0',
      'x-ratelimit-reset-requests': '1m0s',
    });
    nowMs = 30_000;
    use.startRequest();
    expect([use.requests, use.refusals]).toEqual([3, 1]);
  });

  it('pay for what was generated beyond their tokens with the next request', () => {
    const use = new KeyUse({ name: 'a', digest: digestOf('x'), tokensPerMinute: 60 }, clock);
    use.startRequest();
    const hold = use.startAnswers(1, 50);
    for (let token = 0; token < 40; token++) hold.onToken();
    hold.release();
    expect(reasonOf(() => use.startRequest())).toBe('tokens 31');
    nowMs = 31_000;
    use.startRequest();
    expect(reasonOf(() => use.startAnswers(1, 30))).toBe('tokens 29');
    expect([use.promptTokens, use.completionTokens]).toEqual([50, 40]);
  });

  it('have so many answers at a time, and a request for more is told that waiting is no use', () => {
    const use = new KeyUse({ name: 'a', digest: digestOf('x'), maxConcurrent: 3 }, clock);
    const two = use.startAnswers(2, 1);
    expect(reasonOf(() => use.startAnswers(2, 1))).toBe('concurrency 1');
    expect(reasonOf(() => use.startAnswers(4, 1))).toBe('concurrency undefined');
    two.release();
    two.release();
    use.startAnswers(3, 1);
    expect(reasonOf(() => use.startAnswers(1, 1))).toBe('concurrency 1');
  });

  it('keep what they have used when the file is read again, unless their limits changed', () => {
    const access = open({ apiKeys: [entry('a', 'key-a'), entry('b', 'key-b', { requestsPerMinute: 5 })] });
    const keys = new ApiKeys(access, clock);
    const a = keys.find('key-a')!;
    const b = keys.find('key-b')!;
    write({ apiKeys: [entry('a', 'key-a'), entry('b', 'key-b', { requestsPerMinute: 6 }), entry('c', 'key-c')] });
    access.reload();
    expect(keys.find('key-a')).toBe(a);
    expect(keys.find('key-b')).not.toBe(b);
    expect(keys.uses.map((use) => use.key.name)).toEqual(['a', 'b', 'c']);
    expect(keys.find('key-d')).toBeUndefined();
    write({});
    access.reload();
    expect(keys.required).toBe(false);
  });

  it('tell the time until their limit is full as OpenAI does', () => {
    expect([0, 16.2, 1500, 59_999, 60_000, 360_000].map(formatReset)).toEqual([
      '0ms',
      '17ms',
      '1.5s',
      '1m0s',
      '1m0s',
      '6m0s',
    ]);
  });
});

it('a reload says what it changed in names alone, and a file that cannot be used changes nothing', () => {
  const access = open({ apiKeys: [entry('ann', 'key-of-ann')] });
  const said: string[] = [];
  access.report = (level, text) => said.push(`${level}: ${text}`);
  write({ apiKeys: [entry('ann', 'new-key-of-ann'), entry('bob', 'key-of-bob')], limits: { peersPerAddress: 5 } });
  access.reload();
  expect(said.join()).toMatch(/info: .*apiKeys \+ bob; apiKeys changed: ann; peersPerAddress 5/);
  expect(said.join()).not.toContain(digestOf('key-of-bob').toString('hex').slice(0, 8));
  writeFileSync(path, '{');
  access.reload();
  expect(said.at(-1)).toContain('error: The access rules stay as they were');
  expect(access.policy.apiKeys).toHaveLength(2);
});
