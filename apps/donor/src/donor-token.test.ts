import { donorTokenSchema } from '@shoal/protocol';
import { expect, it } from 'vitest';
import { claimDonorToken } from './donor-token.ts';

/** The parts of storage and locks that tokens use, as one browser's tabs share them. */
function makeBrowser() {
  const entries = new Map<string, string>();
  const storage = {
    getItem: (key: string) => entries.get(key) ?? null,
    setItem: (key: string, value: string) => void entries.set(key, value),
  } as unknown as Storage;
  const held = new Set<string>();
  const locks = {
    request: async (name: string, _: unknown, callback: (lock: object | null) => unknown) => {
      if (held.has(name)) return callback(null);
      held.add(name);
      return callback({ name });
    },
  } as unknown as LockManager;
  return { entries, storage, locks, closeAllTabs: () => held.clear() };
}

it('is the same across visits, and another in a second tab at the same time', async () => {
  const { storage, locks, closeAllTabs } = makeBrowser();
  const first = await claimDonorToken(storage, locks);
  const second = await claimDonorToken(storage, locks);
  expect(second).not.toBe(first);
  closeAllTabs();
  expect(await claimDonorToken(storage, locks)).toBe(first);
  expect(await claimDonorToken(storage, locks)).toBe(second);
});

it('is a token as the protocol wants it', async () => {
  const { storage, locks } = makeBrowser();
  for (let i = 0; i < 20; i++) donorTokenSchema.parse(await claimDonorToken(storage, locks));
});

it('survives storage that somebody has written nonsense to', async () => {
  for (const nonsense of ['{', '7', '["short", 5, null]']) {
    const { entries, storage, locks } = makeBrowser();
    entries.set('shoal.donor-tokens', nonsense);
    donorTokenSchema.parse(await claimDonorToken(storage, locks));
  }
});

it('does without locks', async () => {
  const { storage } = makeBrowser();
  const token = await claimDonorToken(storage, undefined);
  expect(await claimDonorToken(storage, undefined)).toBe(token);
});
