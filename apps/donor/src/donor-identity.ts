import type { PageTexts } from '@shoal/protocol/page';
import { donorTokenSchema, MAX_TABS_PER_DONOR } from '@shoal/protocol';
import type { Prove } from './contribution/browser-key.ts';

const TOKEN_KEY = 'shoal.donor-token';
const TAB_KEY = 'shoal.tab';

/** Identifies a donor (one browser profile) and the tab. */
export interface DonorIdentity {
  donorToken: string;
  tab: number;
  /** Proves it with the browser's own key, where it has one. */
  prove?: Prove | undefined;
}

export interface IdentityPlaces {
  /** Shared by all tabs of the browser. */
  browserStorage: PageTexts;
  /** Survives a reload and belongs to this tab alone. */
  tabStorage: PageTexts;
  /** Undefined outside a secure context. */
  locks: LockManager | undefined;
}

/**
 * Returns the browser's token, made on its first visit, and a number that no other open tab has: each tab holds a lock on its
 * number while it is open. A reload tries its old number first, so that the coordinator recognises it. Tabs beyond the protocol's
 * maximum share the last number, and the coordinator admits the newest of them.
 */
export async function claimIdentity({ browserStorage, tabStorage, locks }: IdentityPlaces): Promise<DonorIdentity> {
  // The lock keeps two tabs that open together from making two tokens. It is refused where the browser blocks the page's data.
  const donorToken = await locks
    ?.request('shoal-donor-token', () => browserToken(browserStorage))
    .catch(() => undefined);
  if (!locks || donorToken === undefined) return { donorToken: browserToken(browserStorage), tab: 0 };
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

function browserToken(storage: PageTexts): string {
  const kept = donorTokenSchema.safeParse(storage.getItem(TOKEN_KEY));
  if (kept.success) return kept.data;
  const token = newToken();
  storage.setItem(TOKEN_KEY, token);
  return token;
}

/** The tab's number before the reload. */
function tabBefore(storage: PageTexts): number | undefined {
  const kept = storage.getItem(TAB_KEY);
  if (kept === null || !/^\d{1,2}$/.test(kept) || Number(kept) >= MAX_TABS_PER_DONOR) return undefined;
  return Number(kept);
}

/** Takes a lock until the page is closed, since the callback never resolves; returns whether it was free. */
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
