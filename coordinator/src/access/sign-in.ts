import { addressKey } from '../base/address.ts';
import type { Access } from './access.ts';
import type { Admin } from './policy.ts';
import { type Clock, KeyedBuckets } from '../base/token-bucket.ts';

/** More often than anyone mistypes a token, and too slow to guess even one of eight letters. */
const FAILURES_PER_MINUTE = 10;
const MINUTE_MS = 60_000;

/** Shown on the console's sign-in form. */
export const UNAUTHORIZED =
  'That is not an admin token. If none was configured, the coordinator printed one when it started.';

export type SignIn = { ok: true; admin: Admin } | { ok: false; message: string };

/** Checks console tokens. After too many wrong ones an address has to wait, even with a right one: otherwise guessing would go on. */
export class SignInGuard {
  readonly #access: Access;
  readonly #failures: KeyedBuckets;

  constructor(access: Access, clock?: Clock) {
    this.#access = access;
    this.#failures = new KeyedBuckets(FAILURES_PER_MINUTE, MINUTE_MS, clock && { clock });
  }

  signIn(address: string, token: unknown): SignIn {
    const outcome = this.#check(address, token);
    if (!outcome.ok) this.#access.refusals['sign-in']++;
    return outcome;
  }

  #check(address: string, token: unknown): SignIn {
    const failures = this.#failures.of(addressKey(address));
    const waitMs = failures.msUntil(1);
    if (waitMs > 0) {
      const seconds = Math.ceil(waitMs / 1000);
      return { ok: false, message: `Too many wrong tokens from your address. Try again in ${seconds} s.` };
    }
    const admin = typeof token === 'string' ? this.#access.admin(token) : undefined;
    if (admin) return { ok: true, admin };
    failures.debit(1);
    return { ok: false, message: UNAUTHORIZED };
  }
}
