import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export const TINY_STORIES = join(import.meta.dirname, '../../models/tiny-stories');
/** Shared by all tests, so that the model is packed once. */
export const CACHE_DIR = join(import.meta.dirname, '../../.cache/packed');

export interface GoldenCase {
  prompt: string;
  prompt_ids: number[];
  greedy_ids: number[];
  margin_to_second: number[];
}

export const GOLDEN = JSON.parse(
  readFileSync(join(import.meta.dirname, '../golden/fixtures/tiny-stories.json'), 'utf8'),
) as GoldenCase[];

/** Margins below this may flip under f16 rounding of weights' products and rows. */
export const MIN_MARGIN = 0.02;

/**
 * Number of leading greedy ids that must equal the golden ones: up to the first position whose margin is too small,
 * after which the texts may differ.
 */
export function promisedLength({ margin_to_second: margins, greedy_ids: ids }: GoldenCase): number {
  const unsure = margins.findIndex((margin) => margin < MIN_MARGIN);
  return unsure === -1 ? ids.length : unsure;
}
