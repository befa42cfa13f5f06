import { z } from 'zod';

/** Who an operator keeps out of the swarm, and until when: `/admin/bans`. */

/** A year. */
export const MAX_BAN_MINUTES = 525_600;
export const MAX_BAN_REASON_CHARS = 200;

/** How long it lasts; null: until it is lifted. */
export const banMinutesSchema = z
  .number('must be a whole number of minutes, or null')
  .int('must be a whole number of minutes')
  .min(1, 'must be 1 or more')
  .max(MAX_BAN_MINUTES, `must be ${MAX_BAN_MINUTES} or less`)
  .nullable();
/** Told to the donor. One line. */
export const banReasonSchema = z
  .string('must be a text')
  .trim()
  .max(MAX_BAN_REASON_CHARS, `must have ${MAX_BAN_REASON_CHARS} characters or fewer`)
  // eslint-disable-next-line no-control-regex
  .regex(/^[^\u0000-\u001f\u007f]*$/, 'must be one line without control characters');

/** `POST /admin/bans`: a donor by the hash that its tabs show, or a network as `10.1.2.3`, `10.1.0.0/16` or `2001:db8::/48`. */
export const newBanSchema = z
  .strictObject({
    donor: z
      .string()
      .regex(/^[0-9a-f]{16}$/, 'must be the 16 hex digits that a tab’s donor has')
      .optional(),
    network: z.string().max(64).optional(),
    minutes: banMinutesSchema.default(60),
    reason: banReasonSchema.default(''),
  })
  .refine(({ donor, network }) => (donor === undefined) !== (network === undefined), {
    error: 'name a donor or a network, and not both',
  });
export type NewBan = z.infer<typeof newBanSchema>;

export interface BanView {
  id: number;
  /** A ban ends visits at once. A drain lets others take over first, and the tab come back by itself when it ends. */
  kind: 'ban' | 'drain';
  /** `donor HASH` (or `donor HASH HASH`: of its key and of its token), `tab HASH/NUMBER` or `network NETWORK`. */
  subject: string;
  /** The tab that it was made for, or empty. */
  label: string;
  /** Told to the donor; may be empty. */
  reason: string;
  by: string;
  /** ISO times; `until` is null if it lasts until it is lifted. */
  at: string;
  until: string | null;
}

/** A donor or a network that is kept out after wrong results. */
export interface QuarantineView {
  /** `donor HASH`, or `address NETWORK`. */
  key: string;
  until: string;
}

export interface BansView {
  bans: BanView[];
  quarantines: QuarantineView[];
}
