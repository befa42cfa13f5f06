import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';

/** 192 bits: beyond guessing, and still short enough for a link. */
const TOKEN_BYTES = 24;

/** A new secret in characters that links and headers carry as they are. */
export function newToken(): string {
  return randomBytes(TOKEN_BYTES).toString('base64url');
}

/** What is stored of a token. Without salt or stretching, which a random token needs no more than a key does. */
export function digestOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

/** The entry whose token this is. Compares digests, all of them, so that the time taken says nothing about any. */
export function findByToken<T extends { digest: Buffer }>(entries: readonly T[], token: string): T | undefined {
  const digest = digestOf(token);
  let found: T | undefined;
  for (const entry of entries) {
    if (timingSafeEqual(entry.digest, digest)) found = entry;
  }
  return found;
}
