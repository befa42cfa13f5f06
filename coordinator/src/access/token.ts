import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';

/** 192 bits: cannot be guessed, and still short enough for a link. */
const TOKEN_BYTES = 24;

/** A new secret, in characters that need no escaping in links and headers. */
export function newToken(): string {
  const token = randomBytes(TOKEN_BYTES).toString('base64url');
  // A command line takes a value that begins with a hyphen for an option.
  return token.startsWith('-') ? newToken() : token;
}

/** The stored form of a token. A random token needs neither salt nor stretching. */
export function digestOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

/** The entry with this token. Compares all digests in constant time, so that timing reveals nothing. */
export function findByToken<T extends { digest: Buffer }>(entries: readonly T[], token: string): T | undefined {
  const digest = digestOf(token);
  let found: T | undefined;
  for (const entry of entries) {
    if (timingSafeEqual(entry.digest, digest)) found = entry;
  }
  return found;
}
