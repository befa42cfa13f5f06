import {
  adapterSchema,
  MAX_COORDINATORS,
  MAX_PLEDGE_BYTES,
  MAX_SHARDS_PER_ASSIGNMENT,
  MIN_SHARE,
} from '@shoal/protocol';
import { z } from 'zod';
import { ascending, rangesOf, readRanges } from './expert-ranges.ts';
import type { HomeView, TabView } from './tab-board.ts';

/*
 * Rows of `cluster_tabs`. Members may be of other versions, so what is read is checked as what strangers send: a row that doesn't
 * fit is a tab that this member doesn't know.
 */

/** Longest text of experts: each by itself. */
const MAX_RANGES_CHARS = MAX_SHARDS_PER_ASSIGNMENT * 8;

const count = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
const id = z.string().min(1).max(64);
const experts = z
  .string()
  .max(MAX_RANGES_CHARS)
  .transform((text, context) => {
    const read = readRanges(text, MAX_SHARDS_PER_ASSIGNMENT);
    if (read) return read;
    context.addIssue({ code: 'custom', message: 'these are no experts' });
    return z.NEVER;
  });
const expertSet = experts.transform((read) => new Set(read));
const measured = z.number().positive().max(1e9).optional();

const tabSchema = z.object({
  donorId: id,
  tab: count,
  visit: count,
  address: z.string().max(100),
  adapter: adapterSchema,
  rowFormat: z.enum(['f16', 'int8']),
  maxExperts: count,
  maxExpertsPerLayer: count,
  pledgeBytes: count.max(MAX_PLEDGE_BYTES),
  maxCoordinators: count.min(1).max(MAX_COORDINATORS),
  state: z.enum(['connecting', 'loading', 'testing', 'waiting', 'working', 'paused', 'resting', 'draining']),
  epoch: count,
  assigned: expertSet,
  live: expertSet,
  target: expertSet,
  kept: experts,
  order: count,
  connected: z.boolean(),
  doubtful: z.boolean(),
  retires: z.boolean().default(false),
  share: z.number().min(MIN_SHARE).max(1).default(1),
  trust: z.object({
    phase: z.enum(['probation', 'trusted', 'quarantined']),
    consecutiveRight: count,
    verifiedRows: count,
  }),
  rttMs: measured,
  assignmentsPerSecond: measured,
});

const homeSchema = z.object({ follows: id.optional(), regime: count });

/** JSON of a tab's row. */
export function tabRow(view: TabView): string {
  const { assigned, live, target, kept } = view;
  return JSON.stringify({
    ...view,
    // It is the row's key.
    peerId: undefined,
    assigned: rangesOf(ascending(assigned)),
    live: rangesOf(ascending(live)),
    target: rangesOf(ascending(target)),
    kept: rangesOf(kept),
  });
}

/** Undefined if the row is no tab's, or one of a version that this one cannot read. */
export function readTabRow(peerId: string, row: unknown): TabView | undefined {
  const { data } = tabSchema.safeParse(row);
  return data && { ...data, peerId, rttMs: data.rttMs, assignmentsPerSecond: data.assignmentsPerSecond };
}

export const homeRow = (view: HomeView): string => JSON.stringify(view);

export function readHomeRow(row: unknown): HomeView | undefined {
  const { data } = homeSchema.safeParse(row);
  return data && { regime: data.regime, follows: data.follows };
}
