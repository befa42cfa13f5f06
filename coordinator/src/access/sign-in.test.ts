import { beforeEach, describe, expect, it } from 'vitest';
import { Access } from './access.ts';
import { SignInGuard, UNAUTHORIZED } from './sign-in.ts';
import { accessFixture, entry } from './testing/fixtures.ts';

const { open } = accessFixture();
let nowMs = 0;
const clock = (): number => nowMs;
beforeEach(() => (nowMs = 0));

describe('SignInGuard', () => {
  it('knows the admins in the file and the one from the command line', () => {
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

  it('refuses an address that guesses for a while, even with the right token, without affecting others', () => {
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
