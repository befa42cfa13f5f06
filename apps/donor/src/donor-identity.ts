import { donorTokenSchema, MAX_TABS_PER_DONOR } from '@shoal/protocol';

const TOKEN_KEY = 'shoal.donor-token';
const TAB_KEY = 'shoal.tab';

/** Who lends: one browser's profile, and which of its tabs. */
export interface DonorIdentity {
  donorToken: string;
  tab: number;
}

export interface IdentityPlaces {
  /** All tabs of the browser see it. */
  browserStorage: Storage;
  /** It outlives a reload, and no other tab sees it. */
  tabStorage: Storage;
  /** Undefined where the page is no secure context. */
  locks: LockManager | undefined;
}

/**
 * The browser's token, made on its first visit, and a number that no other of its open tabs has: each holds a lock on its own
 * for as long as it lives. A reload asks for its old number first, so that the coordinator knows what it held. Tabs beyond the
 * protocol's number share the last one: the coordinator lets the newest of them in.
 */
export async function claimIdentity({ browserStorage, tabStorage, locks }: IdentityPlaces): Promise<DonorIdentity> {
  if (!locks) return { donorToken: browserToken(browserStorage), tab: 0 };
  // Two tabs that are opened together must not make two tokens.
  const donorToken = await locks.request('shoal-donor-token', () => browserToken(browserStorage));
  const before = tabBefore(tabStorage);
  const numbers = [...(before === undefined ? [] : [before]), ...Array(MAX_TABS_PER_DONOR).keys()];
  let tab = MAX_TABS_PER_DONOR - 1;
  for (const number of numbers) {
    if (!(await holdLock(locks, `shoal-tab-${number}`))) continue;
    tab = number;
    break;
  }
  tabStorage.setItem(TAB_KEY, String(tab));
  return { donorToken, tab };
}

function browserToken(storage: Storage): string {
  const kept = donorTokenSchema.safeParse(storage.getItem(TOKEN_KEY));
  if (kept.success) return kept.data;
  const token = newToken();
  storage.setItem(TOKEN_KEY, token);
  return token;
}

/** The number that this tab had before it was reloaded. */
function tabBefore(storage: Storage): number | undefined {
  const kept = storage.getItem(TAB_KEY);
  if (kept === null || !/^\d{1,2}$/.test(kept) || Number(kept) >= MAX_TABS_PER_DONOR) return undefined;
  return Number(kept);
}

/** Held until the page goes away: the lock's callback never resolves. */
function holdLock(locks: LockManager, name: string): Promise<boolean> {
  return new Promise((resolve) => {
    void locks.request(name, { ifAvailable: true }, (lock) => {
      resolve(lock !== null);
      return lock ? new Promise<void>(() => {}) : undefined;
    });
  });
}

/** 128 random bits, base64url. */
function newToken(): string {
  const random = crypto.getRandomValues(new Uint8Array(16));
  return btoa(String.fromCharCode(...random))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '');
}
