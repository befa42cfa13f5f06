import { z } from 'zod';
import { list } from './list.ts';
import { MAX_PLEDGE_BYTES, MAX_SHARD_URLS } from './limits.ts';

/** Messages about where tabs get shards from, besides the coordinator. */

/** In `hello`'s reply: an http(s) URL, or a path of the coordinator, with `{sha256}` in the place of the shard's hash. */
export const shardUrlSchema = z
  .string()
  .max(2000)
  .regex(/^(https?:\/\/|\/)\S*\{sha256\}\S*$/);

/** The URL of one shard. */
export function shardUrl(template: string, sha256: string): string {
  return template.replace('{sha256}', sha256);
}

export const SHARD_ORIGINS = ['coordinator', 'mirror', 'tab'] as const;
/** Who sent a shard. */
export type ShardOrigin = (typeof SHARD_ORIGINS)[number];

/** Why a mirror is left alone for a while. `slow`: it began, and then sent too little. */
export const MIRROR_FAULTS = ['network', 'http', 'timeout', 'slow', 'wrong-bytes'] as const;
export type MirrorFault = (typeof MIRROR_FAULTS)[number];

/** As much as a tab's memory can take, many times over; what a tab says beyond is not an honest figure. */
const bytes = z
  .number()
  .int()
  .min(0)
  .max(16 * MAX_PLEDGE_BYTES);

/** Donor → coordinator, event `fetched`: bytes of whole shards since the last such message, by where they came from. Every few seconds at most. */
export const fetchedSchema = z.object({
  coordinator: bytes,
  mirror: bytes,
  tab: bytes,
  /** Handed to other tabs. */
  given: bytes,
  /** Mirrors that failed since the last message: their place in the reply's list. */
  mirrorFaults: list(
    z.object({
      mirror: z
        .number()
        .int()
        .min(0)
        .max(MAX_SHARD_URLS - 1),
      fault: z.enum(MIRROR_FAULTS),
    }),
  ).max(16),
});
export type Fetched = z.infer<typeof fetchedSchema>;
