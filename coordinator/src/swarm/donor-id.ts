import { createHash } from 'node:crypto';

const DIGITS = 16;

/** The name of a donor: hash of its public key (65 bytes) where it has proven to have it, and of its token otherwise. */
export const donorIdOf = (keyOrToken: string | Buffer): string =>
  createHash('sha256').update(keyOrToken).digest('hex').slice(0, DIGITS);
