import { z } from 'zod';

/**
 * What a completion's choice carries beside OpenAI's fields if the request has `shoal: { trace: true }`: for each token, the
 * experts that answered in each layer, their tabs, and the time of each lap.
 */
export const lapTraceSchema = z.object({
  /** The model's own layer number. */
  layer: z.number().int().min(0).max(65535),
  lapMs: z.number().nonnegative(),
  /** True for a local layer, which the coordinator computes without a lap. */
  resident: z.boolean().optional(),
  experts: z
    .array(
      z.object({
        expert: z.number().int().min(0).max(65535),
        /** The gate's weight. */
        weight: z.number(),
        /** null if the coordinator computed this expert itself. */
        peerId: z.string().max(64).nullable(),
      }),
    )
    .max(1024),
});

export const tokenTraceSchema = z.object({
  id: z.number().int().nonnegative(),
  /** The token's text; empty if a later token completes its character. */
  text: z.string().max(1000),
  laps: z.array(lapTraceSchema).max(1024),
});
export type TokenTrace = z.infer<typeof tokenTraceSchema>;
export type TokenLap = z.infer<typeof lapTraceSchema>;

/** The `shoal` field of a choice. */
export const chunkTraceSchema = z.object({ tokens: z.array(tokenTraceSchema).max(4096) });
export type ChunkTrace = z.infer<typeof chunkTraceSchema>;
