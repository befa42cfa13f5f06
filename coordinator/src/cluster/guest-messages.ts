import { guestRefusedSchema, iceServerSchema, MAX_LAP_CONNECTIONS, signalSchema } from '@shoal/protocol';
import { z } from 'zod';

/** In one message. */
export const MAX_WORK_ENTRIES = 200;

const peerId = z.string().max(64);
const count = z
  .number()
  .int()
  .min(0)
  .max(2 ** 40);
/** A guest's link to a tab, which its home knows by this name. */
const link = { peerId, attempt: guestRefusedSchema.shape.attempt };

/** What a guest and the home of a tab say to each other. The home reads nothing of signals, which the receiver checks again. */
export const GUEST_SCHEMAS = {
  /** To the home: the sender wants a link to the tab. */
  'guest-open': z.object({
    ...link,
    iceServers: z.array(iceServerSchema).max(8),
    lapConnections: z.number().int().min(1).max(MAX_LAP_CONNECTIONS),
  }),
  /** To the home: the sender wants the link no longer. */
  'guest-close': z.object(link),
  /** A signal of the guest for the tab, or of the tab for the guest. */
  'guest-signal': z.object({ ...link, signal: signalSchema }),
  /** To the guest. `busy`: the tab is opening other links, try again soon. `gone`: it is no tab of this home. */
  'guest-refused': z.object({ ...link, code: z.enum([...guestRefusedSchema.shape.code.options, 'busy', 'gone']) }),
  /** To the home: what tabs have done for the sender since its last message. */
  'guest-work': z.object({
    work: z.array(z.object({ peerId, rows: count, tokens: count })).max(MAX_WORK_ENTRIES),
  }),
  /**
   * To the home: the sender has ended its link to a tab, since its laps failed or it broke the protocol. What becomes of the visit is
   * for the home to decide.
   */
  'guest-complaint': z.object({ peerId, code: z.enum(['laps', 'protocol']), message: z.string().max(500) }),
} satisfies Record<string, z.ZodType>;
