import { z } from 'zod';
import { MAX_REST_MS, MIN_SHARE } from './limits.ts';

/** Why a tab rests, by its donor's limits. The last two are about the donor's computer: somebody uses it, or its GPU. */
export const REST_REASONS = [
  'schedule',
  'traffic-day',
  'traffic-month',
  'mains',
  'battery',
  'in-use',
  'other-program',
] as const;
export type RestReason = (typeof REST_REASONS)[number];

const fromNowMs = z.number().int().min(0).max(MAX_REST_MS);

/**
 * What a tab's donor allows it: in `hello`, and by event `promise` when it changes. Times are from now, since clocks differ. It is
 * the tab's word, and only ever gets it less work.
 */
export const promiseSchema = z.object({
  /** Share of the time that the tab computes while it has work (`DutyAccount`); 1: all of it. */
  share: z.number().min(MIN_SHARE).max(1),
  /** It rests: no laps, and nothing is fetched, until it promises otherwise. */
  rest: z
    .object({
      why: z.enum(REST_REASONS),
      /** For how long, if it knows. */
      forMs: fromNowMs.optional(),
    })
    .optional(),
  /** When it will rest next, if it knows. */
  restsInMs: fromNowMs.optional(),
});
export type TabPromise = z.infer<typeof promiseSchema>;

/** What a tab promises that says nothing. */
export const NO_LIMITS: TabPromise = { share: 1 };
