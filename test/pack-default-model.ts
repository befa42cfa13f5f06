import { QUANTS } from '@shoal/weights';
import { ensurePacked } from '@shoal/weights/node';
import { CACHE_DIR, TINY_STORIES } from './integration/golden.ts';

/** Vitest's global set-up: packs the default model once, since files that run side by side would wait for a folder's lock. */
export async function setup(): Promise<void> {
  for (const quant of QUANTS) await ensurePacked({ modelDir: TINY_STORIES, cacheDir: CACHE_DIR, quant });
}
