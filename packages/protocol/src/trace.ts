import { z } from 'zod';

/**
 * What a choice of a completion carries beside OpenAI's fields when the request asked `shoal: { trace: true }`: for each token
 * of it, which experts of which layers answered, on which tabs, and how long each lap took.
 */
export const lapTraceSchema = z.object({
  /** The model's own layer number. */
  layer: z.number().int().min(0).max(65535),
  lapMs: z.number().nonnegative(),
  /** A layer that the coordinator holds by plan: this was no lap. */
  resident: z.boolean().optional(),
  experts: z
    .array(
      z.object({
        expert: z.number().int().min(0).max(65535),
        /** The gate's weight. */
        weight: z.number(),
        /** null: the coordinator computed this expert itself. */
        peerId: z.string().max(64).nullable(),
      }),
    )
    .max(1024),
});

export const tokenTraceSchema = z.object({
  id: z.number().int().nonnegative(),
  /** The token's text; empty where it is part of a character that a later token completes. */
  text: z.string().max(1000),
  laps: z.array(lapTraceSchema).max(1024),
});
export type TokenTrace = z.infer<typeof tokenTraceSchema>;
export type TokenLap = z.infer<typeof lapTraceSchema>;

/** The `shoal` field of a choice. */
export const chunkTraceSchema = z.object({ tokens: z.array(tokenTraceSchema).max(4096) });
export type ChunkTrace = z.infer<typeof chunkTraceSchema>;
