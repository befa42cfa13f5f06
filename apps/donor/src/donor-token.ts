const STORAGE_KEY = 'shoal.donor-tokens';
const TOKEN_PATTERN = /^[A-Za-z0-9_-]{22,64}$/;
/** More tabs of one browser than this lend under a name of their own that is forgotten afterwards. */
const MAX_REMEMBERED_TABS = 16;

/**
 * Who this donor is across visits. Two tabs of one browser must not be the same donor at the same time, so each holds a
 * lock on one of the browser's tokens for as long as it lives, and the next tab takes the next.
 */
export async function claimDonorToken(storage: Storage, locks: LockManager | undefined): Promise<string> {
  const tokens = readTokens(storage);
  if (!locks) return tokens[0] ?? remember(storage, [], newToken());
  for (const token of tokens) {
    if (await holdLock(locks, token)) return token;
  }
  const token = newToken();
  await holdLock(locks, token);
  // Read again: another tab may have added its own while this one asked for locks.
  const present = readTokens(storage);
  return present.length < MAX_REMEMBERED_TABS ? remember(storage, present, token) : token;
}

function remember(storage: Storage, tokens: readonly string[], token: string): string {
  storage.setItem(STORAGE_KEY, JSON.stringify([...tokens, token]));
  return token;
}

function readTokens(storage: Storage): string[] {
  try {
    const parsed: unknown = JSON.parse(storage.getItem(STORAGE_KEY) ?? '[]');
    if (!Array.isArray(parsed)) return [];
    return parsed
      .filter((token) => typeof token === 'string' && TOKEN_PATTERN.test(token))
      .slice(0, MAX_REMEMBERED_TABS) as string[];
  } catch {
    return [];
  }
}

/** Held until the page goes away: the lock's callback never resolves. */
function holdLock(locks: LockManager, token: string): Promise<boolean> {
  return new Promise((resolve) => {
    void locks.request(`shoal-donor-${token}`, { ifAvailable: true }, (lock) => {
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
