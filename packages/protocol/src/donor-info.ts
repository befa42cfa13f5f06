import { z } from 'zod';
import { quantSchema } from './signalling.ts';

/** Where a coordinator answers it, relative to its pages. */
export const DONOR_INFO_PATH = 'donor-info';

const count = z
  .number()
  .int()
  .min(0)
  .max(2 ** 40);

/**
 * `GET ./donor-info`: what a donor should know before lending. Public and small; the one thing that the donor page fetches before
 * its donor has agreed.
 */
export const donorInfoSchema = z.object({
  model: z.object({
    /** e.g. `tiny-stories` */
    id: z.string().max(200),
    quant: quantSchema,
    /** Layers whose experts are in tabs, and what each has. */
    layers: count,
    expertsPerLayer: count,
    /** Experts that a token's row needs in a layer. */
    expertsPerToken: count,
    /** What one expert takes: on the wire, and of the memory that a donor lends. */
    shardBytes: count,
    pledgeBytesPerExpert: z.number().positive(),
  }),
  /** As the operator has put it; left out where nothing was said. */
  operator: z.object({
    name: z.string().max(200).optional(),
    /** An address of a page (https://…), an e-mail address, or words. */
    contact: z.string().max(500).optional(),
    about: z.string().max(2000).optional(),
  }),
  /** How much help is wanted now. */
  need: z.object({
    /** Tabs that serve at least one expert. */
    servingTabs: count,
    /** Experts in no tab, which the coordinator computes itself. */
    uncovered: count,
    /** Experts in fewer tabs than the operator wants (`replicas`), those in none included. */
    thin: count,
    replicas: count,
  }),
  traffic: z.object({
    /** Of one token in one layer, to a tab and back. */
    bytesPerTokenAndLayer: z.number().nonnegative(),
    /** Tokens that were answered in a second, on average over the last two minutes. */
    tokensPerSecond: z.number().nonnegative(),
  }),
  /** Whether a tab needs an invitation. */
  inviteOnly: z.boolean(),
  /** Whether tabs that compute on the CPU may join. */
  takesCpu: z.boolean(),
});
export type DonorInfo = z.infer<typeof donorInfoSchema>;
