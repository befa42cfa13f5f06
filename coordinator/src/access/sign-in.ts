import type { Access } from './access.ts';
import type { Admin } from './access-file.ts';
import { addressKey } from '../base/address.ts';
import { type Clock, KeyedBuckets } from './token-bucket.ts';

/** Nobody mistypes a token this often; with an admin token of eight letters, guessing at this rate takes ages. */
const FAILURES_PER_MINUTE = 10;
const MINUTE_MS = 60_000;

/** Shown at the console's sign-in as it is. */
export const UNAUTHORIZED = 'That is not an admin token. The coordinator printed one when it started, if none was set.';

export type SignIn = { ok: true; admin: Admin } | { ok: false; message: string };

/** The console's door. After too many wrong tokens an address waits, whatever it says next: else guessing would go on. */
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
      return { ok: false, message: `Too many wrong tokens came from your address. Try again in ${seconds} s.` };
    }
    const admin = typeof token === 'string' ? this.#access.admin(token) : undefined;
    if (admin) return { ok: true, admin };
    failures.debit(1);
    return { ok: false, message: UNAUTHORIZED };
  }
}
