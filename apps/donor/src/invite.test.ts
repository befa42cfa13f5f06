import { inviteTokenSchema } from '@shoal/protocol';
import { expect, it } from 'vitest';
import { readInvite, rememberedInvite, takeInvite } from './invite.ts';

const TOKEN = 'k3J_x9-QmZ0aB7cD5eF1gH2i';

function makePage(hash: string) {
  const entries = new Map<string, string>();
  const shown: string[] = [];
  const storage = {
    getItem: (key: string) => entries.get(key) ?? null,
    setItem: (key: string, value: string) => void entries.set(key, value),
  } as unknown as Storage;
  const history = { replaceState: (_: unknown, __: string, url: string) => void shown.push(url) };
  return { storage, shown, history, location: { hash, pathname: '/', search: '?pledge=64' } };
}

it('takes the invitation out of the address bar and keeps it for the next visit', () => {
  const page = makePage(`#invite=${TOKEN}`);
  expect(takeInvite(page)).toBe(true);
  expect(page.shown).toEqual(['/?pledge=64']);
  expect(rememberedInvite(page.storage)).toBe(TOKEN);
  expect(inviteTokenSchema.parse(TOKEN)).toBe(TOKEN);
});

it('keeps an earlier invitation where the address has none, or a damaged one', () => {
  const page = makePage(`#invite=${TOKEN}`);
  takeInvite(page);
  for (const hash of ['', '#top', '#invite=', '#invite=a b', `#invite=${'x'.repeat(200)}`]) {
    expect(takeInvite({ ...page, location: { ...page.location, hash } }), hash).toBe(false);
  }
  expect(rememberedInvite(page.storage)).toBe(TOKEN);
  // What looked like an invitation is not left in the address bar either.
  expect(page.shown).toHaveLength(4);
});

it.each([
  [TOKEN, TOKEN],
  [`  ${TOKEN}\n`, TOKEN],
  [`https://shoal.example.org/#invite=${TOKEN}`, TOKEN],
  ['https://shoal.example.org/', undefined],
  ['', undefined],
  ['short', undefined],
])('reads what somebody pasted: %j', (pasted, expected) => {
  expect(readInvite(pasted)).toBe(expected);
});
