import { z } from 'zod';
import { MAX_CONTROL_BYTES } from './limits.ts';

/**
 * Both ways on simple-peer's own channel, as JSON text. `goodbye`: this side is leaving now; sent by a page on `pagehide`, when
 * its worker may be gone already. `keep-alive`: nothing but a sign of life from the page itself.
 */
export const controlSchema = z.discriminatedUnion('control', [
  z.object({ control: z.literal('goodbye') }),
  z.object({ control: z.literal('keep-alive') }),
]);
export type ControlMessage = z.infer<typeof controlSchema>;

/** What a stranger said on the control channel, or undefined if it is none of it. Never throws. */
export function parseControl(data: unknown): ControlMessage | undefined {
  if (typeof data !== 'string' || data.length > MAX_CONTROL_BYTES) return undefined;
  try {
    return controlSchema.safeParse(JSON.parse(data)).data;
  } catch {
    return undefined;
  }
}
