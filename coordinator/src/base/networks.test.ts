import { describe, expect, it } from 'vitest';
import { type AddressKind, addressKind, reachableFor } from './networks.ts';

describe('addressKind', () => {
  it.each<[AddressKind, string[]]>([
    [
      'public',
      ['8.8.8.8', '100.63.0.1', '172.32.0.1', '192.167.0.1', '223.255.255.255', '2606:4700::1', '3fff:ffff::1'],
    ],
    [
      'private',
      ['10.0.0.1', '172.16.0.1', '172.31.255.255', '192.168.1.1', '100.64.0.1', 'fd12::1', '::ffff:10.0.0.1'],
    ],
    ['loopback', ['127.0.0.1', '127.255.0.1', '::1', '::ffff:127.0.0.1', '::ffff:7f00:1']],
    [
      'special',
      ['0.0.0.0', '169.254.169.254', '224.0.0.251', '239.1.1.1', '255.255.255.255', '192.0.2.1', '198.18.0.1'],
    ],
    [
      'special',
      ['::', 'fe80::1', 'ff02::fb', '64:ff9b::7f00:1', '64:ff9b::10.0.0.1', '2002:7f00:1::', '2001:0:1::1', '::7f00:1'],
    ],
  ])('is %s for %j', (kind, addresses) => {
    expect(addresses.map(addressKind)).toEqual(addresses.map(() => kind));
  });
});

describe('reachableFor', () => {
  const OWN_PRIVATE = ['127.0.0.1', '172.17.0.2', 'fe80::1%eth0'];
  const OWN_PUBLIC = ['127.0.0.1', '203.0.114.5'];
  const allowed = (donor: string, own: string[]): string[] =>
    ['8.8.8.8', '10.1.1.1', '127.0.0.1', '169.254.169.254', 'fe80::1'].filter(reachableFor(donor, own));

  it('allows public addresses alone to a public donor, wherever we are', () => {
    for (const own of [OWN_PRIVATE, OWN_PUBLIC]) expect(allowed('8.8.4.4', own)).toEqual(['8.8.8.8']);
    expect(allowed('unknown', OWN_PRIVATE)).toEqual(['8.8.8.8']);
  });

  it('allows private ones where donor and coordinator are in such a network', () => {
    expect(allowed('10.9.9.9', OWN_PRIVATE)).toEqual(['8.8.8.8', '10.1.1.1']);
    expect(allowed('10.9.9.9', OWN_PUBLIC)).toEqual(['8.8.8.8']);
  });

  it('allows loopback to a donor on this machine', () => {
    expect(allowed('127.0.0.1', OWN_PRIVATE)).toEqual(['8.8.8.8', '10.1.1.1', '127.0.0.1']);
    expect(allowed('::1', OWN_PUBLIC)).toEqual(['8.8.8.8', '127.0.0.1']);
  });
});
