import { describe, expect, it } from 'vitest';
import { hostFault } from './host-header.ts';

const fault = (hosts: string[], httpVersion = '1.1') =>
  hostFault({ httpVersion, rawHeaders: ['Accept', 'host', ...hosts.flatMap((host, i) => [i ? 'HOST' : 'Host', host])] })
    ?.message;

describe('hostFault', () => {
  it('accepts one valid host', () => {
    for (const host of [
      '',
      's',
      'shoal.example',
      'a-b_c.example:8787',
      '127.0.0.1:80',
      '[::1]:8787',
      '[::ffff:1.2.3.4]',
      'x:',
    ])
      expect(fault([host]), host).toBeUndefined();
  });

  it('refuses a missing host only where HTTP requires one', () => {
    expect(fault([])).toMatch(/needs a Host header/);
    expect(fault([], '1.0')).toBeUndefined();
  });

  it('refuses two hosts, also two that agree', () => {
    expect(fault(['a', 'b'])).toMatch(/only one/);
    expect(fault(['a', 'a'], '1.0')).toMatch(/only one/);
    expect(fault(['', 'a'])).toMatch(/only one/);
  });

  it('refuses what is no host', () => {
    const wrong = [
      ' ',
      'a b',
      'a, b',
      'a/b',
      'user@host',
      'a:b',
      'a:123456',
      '::1',
      '[::1',
      '[a:g]',
      'ä',
      'a?b',
      'a#b',
      '<a>',
      '%zz',
    ];
    for (const host of wrong) expect(fault([host]), host).toMatch(/not a valid host/);
  });
});
