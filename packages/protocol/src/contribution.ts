import { z } from 'zod';
import { type Proof, proofSchema } from './identity.ts';
import { displayNameSchema, MAX_NAME_CHARS } from './names.ts';

/** What a donor's tabs did in some time. All of it is the coordinator's count, and none of it the tab's word but `busySeconds`. */
export const figuresSchema = z.object({
  /** Tokens helped with. Those count whose rows were found right, or were followed by one that was. */
  tokens: z.number().nonnegative(),
  /** Rows that were used, of which the same is true. */
  rows: z.number().nonnegative(),
  /** Rows that the coordinator computed again and found right, those of tests before the first work included. */
  verifiedRows: z.number().nonnegative(),
  /** Time during which any tab could be given work. */
  servedSeconds: z.number().nonnegative(),
  /** Time that the tabs computed, as they say, and no longer than their laps took. */
  busySeconds: z.number().nonnegative(),
});
export type Figures = z.infer<typeof figuresSchema>;

const teamSchema = z.object({ id: z.number().int().positive(), name: z.string().max(4 * MAX_NAME_CHARS) });

/** A donor's account: what its browsers did together, and under which name. Days are those of UTC. */
export const contributionSchema = z.object({
  /** Whether it outlives the coordinator. */
  kept: z.boolean(),
  /** Whether the browser has proven by its key whose account it is; without it, nothing of it can be changed. */
  proven: z.boolean(),
  today: figuresSchema,
  /** Today and the six days before. */
  week: figuresSchema,
  total: figuresSchema,
  /** Since when, in epoch milliseconds; null before the first credit. */
  sinceMs: z.number().nullable(),
  name: z
    .string()
    .max(4 * MAX_NAME_CHARS)
    .nullable(),
  /** Whether everybody may see the name beside the figures. */
  listed: z.boolean(),
  team: teamSchema.nullable(),
  /** Browsers of the account. */
  browsers: z.number().int().positive(),
  /** Credit that requests may still use, in tokens; null where the operator gives none for it. */
  credit: z.number().nullable(),
});
export type Contribution = z.infer<typeof contributionSchema>;

/** 128 random bits or more, base64url. */
const secretSchema = z.string().regex(/^[A-Za-z0-9_-]{22,64}$/);

/** What a donor asks about its account. */
export const contributionRequestSchema = z.discriminatedUnion('do', [
  z.object({ do: z.literal('look') }),
  z.object({ do: z.literal('name'), name: displayNameSchema.nullable(), listed: z.boolean() }),
  z.object({ do: z.literal('found-team'), name: displayNameSchema }),
  z.object({
    do: z.literal('join-team'),
    team: z
      .number()
      .int()
      .positive()
      .max(2 ** 40),
  }),
  z.object({ do: z.literal('leave-team') }),
  /** A code by which another browser is added, once. */
  z.object({ do: z.literal('link') }),
  z.object({ do: z.literal('redeem'), code: secretSchema }),
  /** A public picture of what was done. */
  z.object({ do: z.literal('picture') }),
  /** A token with which requests to the API use the credit. The one before ends. */
  z.object({ do: z.literal('credit-token') }),
  z.object({ do: z.literal('delete') }),
]);
export type ContributionRequest = z.infer<typeof contributionRequestSchema>;

/** The longest request, as JSON. */
const MAX_REQUEST_CHARS = 1_000;

/**
 * Page → coordinator in namespace `/contribution`, event `ask`, acknowledged with a ContributionReply: one for each socket. The proof
 * is over this socket's challenge and the request, so that a signature serves this request alone.
 */
export const contributionAskSchema = z.object({ proof: proofSchema, request: z.string().max(MAX_REQUEST_CHARS) });
export interface ContributionAsk {
  proof: Proof;
  /** JSON of a ContributionRequest. */
  request: string;
}

export const contributionReplySchema = z.discriminatedUnion('ok', [
  z.object({
    ok: z.literal(true),
    contribution: contributionSchema,
    /** Of `link`. */
    link: z.object({ code: secretSchema, endsMs: z.number() }).optional(),
    /** Of `picture`: its name, as in `swarm/pictures/NAME.svg`. */
    picture: secretSchema.optional(),
    /** Of `credit-token`. */
    token: secretSchema.optional(),
  }),
  z.object({ ok: z.literal(false), message: z.string().max(1000) }),
]);
export type ContributionReply = z.infer<typeof contributionReplySchema>;
export type ContributionMade = Omit<Extract<ContributionReply, { ok: true }>, 'ok' | 'contribution'>;

/** `GET ./swarm.json`: what everybody may know of the swarm. */
export interface SwarmView {
  model: string;
  /** What the operator says of it. */
  operator: { name?: string | undefined; contact?: string | undefined; about?: string | undefined };
  /** Tabs that serve now, and the experts that they hold, of all. */
  tabs: number;
  experts: { served: number; all: number };
  /** On average over the last two minutes. */
  tokensPerSecond: number;
  inviteOnly: boolean;
  /** Whether what donors do is kept; without it there is nothing of what follows. */
  kept: boolean;
  /** Of all donors, named or not. */
  totals: { donors: number; week: Figures; total: Figures };
  /** Those who want to be seen, by their credit in all; at most 100. */
  contributors: { name: string; team: string | null; week: number; total: number }[];
  /** By the credit of their members; at most 100. */
  teams: TeamView[];
  madeMs: number;
}

export interface TeamView {
  id: number;
  name: string;
  members: number;
  /** Tokens helped with. */
  week: number;
  total: number;
  /** Of its members those who want to be seen; only of a single team. */
  contributors?: { name: string; week: number; total: number }[];
}
