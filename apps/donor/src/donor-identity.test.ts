import { donorTokenSchema, helloSchema, MAX_TABS_PER_DONOR } from '@shoal/protocol';
import { expect, it } from 'vitest';
import { claimIdentity } from './donor-identity.ts';

/** What a browser's tabs share, and what each has alone, as far as identities need it. */
function makeBrowser() {
  const makeStorage = () => {
    const entries = new Map<string, string>();
    return {
      getItem: (key: string) => entries.get(key) ?? null,
      setItem: (key: string, value: string) => void entries.set(key, value),
    } as unknown as Storage;
  };
  const browserStorage = makeStorage();
  const owners = new Map<string, object>();
  const openTab = () => {
    const tabStorage = makeStorage();
    const owner = {};
    const locks = {
      request: async (name: string, ...rest: unknown[]) => {
        const callback = rest.at(-1) as (lock: object | null) => unknown;
        if (rest.length === 1) return callback({ name });
        if (owners.has(name)) return callback(null);
        owners.set(name, owner);
        return callback({ name });
      },
    } as unknown as LockManager;
    const close = (): void => {
      for (const [name, holder] of owners) if (holder === owner) owners.delete(name);
    };
    return { tabStorage, close, claim: () => claimIdentity({ browserStorage, tabStorage, locks }) };
  };
  return { browserStorage, openTab };
}

it('one browser is one donor, and each of its open tabs has a number of its own', async () => {
  const { openTab } = makeBrowser();
  const tabs = [openTab(), openTab(), openTab()];
  const identities = await Promise.all(tabs.map((tab) => tab.claim()));
  expect(new Set(identities.map(({ donorToken }) => donorToken)).size).toBe(1);
  expect(identities.map(({ tab }) => tab).sort()).toEqual([0, 1, 2]);
  const { claim } = makeBrowser().openTab();
  expect((await claim()).donorToken).not.toBe(identities[0]!.donorToken);
});

it('a reload keeps its number, a new tab takes the lowest that is free', async () => {
  const { openTab } = makeBrowser();
  const [first, second] = [openTab(), openTab()];
  await first.claim();
  const { tab, donorToken } = await second.claim();
  first.close();
  second.close();
  expect(await second.claim()).toEqual({ tab, donorToken });
  expect(await openTab().claim()).toEqual({ tab: 0, donorToken });
});

it('a tab that was duplicated, with its storage, takes another number', async () => {
  const { openTab } = makeBrowser();
  const first = openTab();
  await first.claim();
  const copy = openTab();
  copy.tabStorage.setItem('shoal.tab', first.tabStorage.getItem('shoal.tab')!);
  expect((await copy.claim()).tab).toBe(1);
});

it('is what the protocol wants, of however many tabs', async () => {
  const { openTab } = makeBrowser();
  const { donorToken, tab } = helloSchema.pick({ donorToken: true, tab: true }).shape;
  for (let i = 0; i < MAX_TABS_PER_DONOR + 4; i++) {
    const identity = await openTab().claim();
    donorToken.parse(identity.donorToken);
    expect(tab.parse(identity.tab)).toBe(Math.min(i, MAX_TABS_PER_DONOR - 1));
  }
});

it('survives storage that somebody has written nonsense to', async () => {
  for (const [token, tab] of [
    ['{', '7.5'],
    ['short', '-1'],
    ['', '99'],
  ] as const) {
    const { browserStorage, openTab } = makeBrowser();
    browserStorage.setItem('shoal.donor-token', token);
    const { tabStorage, claim } = openTab();
    tabStorage.setItem('shoal.tab', tab);
    const identity = await claim();
    donorTokenSchema.parse(identity.donorToken);
    expect(identity.tab).toBe(0);
  }
});

it('does without locks', async () => {
  const { browserStorage } = makeBrowser();
  const places = { browserStorage, tabStorage: browserStorage, locks: undefined };
  const identity = await claimIdentity(places);
  expect(identity.tab).toBe(0);
  expect(await claimIdentity(places)).toEqual(identity);
});
