import { describe, expect, it } from 'vitest';
import { addressKey, clientAddress, networksOf } from './address.ts';

describe('clientAddress', () => {
  const request = (remoteAddress: string, forwarded?: string) => ({
    socket: { remoteAddress },
    headers: forwarded === undefined ? {} : { 'x-forwarded-for': forwarded },
  });

  it('ignores the header unless the proxy is trusted, and then takes its last hop', () => {
    expect(clientAddress(request('::ffff:10.0.0.7', '1.2.3.4'), false)).toBe('10.0.0.7');
    expect(clientAddress(request('127.0.0.1', '6.6.6.6, 1.2.3.4'), true)).toBe('1.2.3.4');
    expect(clientAddress(request('127.0.0.1', '[2001:db8::1]:443'), true)).toBe('2001:db8::1');
    expect(clientAddress(request('127.0.0.1', '1.2.3.4:5678'), true)).toBe('1.2.3.4');
  });

  it('falls back to the socket if the header has no valid address', () => {
    for (const header of [undefined, '', 'unknown', '1.2.3.4,', 'a'.repeat(10_000)]) {
      expect(clientAddress(request('127.0.0.1', header), true)).toBe('127.0.0.1');
    }
  });
});

describe('addressKey', () => {
  it('is the /64 network of an IPv6 address, and an IPv4 address itself', () => {
    expect(addressKey('2001:db8:1:2:3:4:5:6')).toBe('2001:db8:1:2::/64');
    expect(addressKey('2001:0db8:1:2::9')).toBe('2001:db8:1:2::/64');
    expect(addressKey('2001:db8::9')).toBe('2001:db8:0:0::/64');
    expect(addressKey('::1')).toBe('0:0:0:0::/64');
    expect(addressKey('64:ff9b::1.2.3.4')).toBe('64:ff9b:0:0::/64');
    expect(addressKey('1.2.3.4')).toBe('1.2.3.4');
  });
});

describe('networksOf', () => {
  const keys = (address: string): string[] => networksOf(address).map(({ key, share }) => `${key} × ${share}`);

  it('are the address itself, or the /64, the /56 and the /48 of an IPv6 address with larger shares', () => {
    expect(keys('1.2.3.4')).toEqual(['1.2.3.4 × 1']);
    expect(keys('2001:db8:1:2f3::9')).toEqual([
      '2001:db8:1:2f3::/64 × 1',
      '2001:db8:1:200::/56 × 2',
      '2001:db8:1::/48 × 4',
    ]);
    expect(keys('2001:db8:1:2ff::9')[1]).toBe(keys('2001:db8:1:200::9')[1]);
    expect(keys('2001:db8:1:300::9')[1]).not.toBe(keys('2001:db8:1:200::9')[1]);
    expect(keys('2001:db8:1:300::9')[2]).toBe(keys('2001:db8:1:200::9')[2]);
    expect(keys('2001:db8::9')[2]).toBe('2001:db8:0::/48 × 4');
  });
});
