import { z } from 'zod';
import { MAX_CONTROL_BYTES } from './limits.ts';

/**
 * Messages on simple-peer's own channel, both ways, as JSON text. `goodbye`: this side is leaving; a page sends it on `pagehide`,
 * when its worker may already be gone. `keep-alive`: a sign of life from the page itself.
 */
export const controlSchema = z.discriminatedUnion('control', [
  z.object({ control: z.literal('goodbye') }),
  z.object({ control: z.literal('keep-alive') }),
]);
export type ControlMessage = z.infer<typeof controlSchema>;

/** Parses an untrusted control message; undefined if it is invalid. Never throws. */
export function parseControl(data: unknown): ControlMessage | undefined {
  if (typeof data !== 'string' || data.length > MAX_CONTROL_BYTES) return undefined;
  try {
    return controlSchema.safeParse(JSON.parse(data)).data;
  } catch {
    return undefined;
  }
}
