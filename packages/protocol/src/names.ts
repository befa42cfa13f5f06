import { z } from 'zod';

/** Of names that people choose for themselves and their teams. */
export const MAX_NAME_CHARS = 32;

/** Letters of any script with their marks, digits, punctuation, symbols, and single spaces between them. */
const PLAIN = /^[\p{L}\p{M}\p{N}\p{P}\p{S}]+(?: [\p{L}\p{M}\p{N}\p{P}\p{S}]+)*$/u;
/** Marks one above the other, which can cover the lines around them. */
const PILED = /\p{M}{3}/u;
/** What is seen as nothing, though Unicode counts some of it among letters and symbols. */
const UNSEEN = /[\u2800\p{Default_Ignorable_Code_Point}]/u;
const SOLID = /[\p{L}\p{N}]/u;

/**
 * A name as it is shown: composed, without spaces around it. No control characters, no changes of direction, nothing invisible
 * (all of them are outside PLAIN or in UNSEEN), so that it can't disturb what stands beside it or look like another by what nobody sees.
 */
export const displayNameSchema = z
  .string()
  .max(4 * MAX_NAME_CHARS)
  .transform((name) => name.normalize('NFC').trim())
  .refine((name) => name !== '', 'Write a name.')
  .refine((name) => [...name].length <= MAX_NAME_CHARS, `A name has at most ${MAX_NAME_CHARS} characters.`)
  .refine((name) => PLAIN.test(name) && !UNSEEN.test(name), 'Use letters, digits, punctuation and single spaces.')
  .refine(
    (name) => SOLID.test(name) && !PILED.test(name),
    'Use at least one letter or digit, and no piles of accents.',
  );

/** Equal for names that differ only in case, width and the like. */
export const nameKey = (name: string): string =>
  name.normalize('NFKC').toLowerCase().normalize('NFKC').replace(/\s+/g, ' ').trim();
