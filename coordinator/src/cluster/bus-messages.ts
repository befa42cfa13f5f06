import { commandSchema } from '@shoal/protocol';
import { z } from 'zod';
import { GUEST_SCHEMAS } from './guest-messages.ts';

/** In one message. */
export const MAX_TOLD_ENTRIES = 200;

/** In one message. */
export const MAX_RIGHT_DONORS = 500;

const count = z.number().int().min(0);
/** Hash of a donor's token. */
const donor = z.string().min(1).max(64);
const epochMs = count.max(Number.MAX_SAFE_INTEGER);
const quarantineEntry = z.object({
  key: z.string().regex(/^(donor|address) \S{1,100}$/),
  failures: z.number().min(0).max(10_000),
  at: epochMs,
  until: epochMs.nullable(),
});

/** What members say to each other, by kind. Every kind has a schema, since members may be of different versions. */
export const BUS_SCHEMAS = {
  /** Something changed in the database that the receiver should read again now rather than at its next look. */
  look: z.object({ what: z.string().max(64) }),
  /** To the leader: recent rows of each expert, a byte each (`ClusterLoad`). V3's 14,848 experts take 20 kB. */
  load: z.object({ rows: z.base64().max(2 ** 17) }),
  /** Entries of a ToldMap: those that changed, or all of them, in parts of which the first says so. Null: no longer there. */
  told: z.object({
    map: z.string().max(64),
    isAll: z.boolean(),
    entries: z.array(z.tuple([z.string().max(256), z.unknown()])).max(MAX_TOLD_ENTRIES),
  }),
  /** Asks for all entries of a ToldMap. */
  tell: z.object({ map: z.string().max(64) }),
  ...GUEST_SCHEMAS,
  /** An event of the sender's log. */
  event: z.object({
    timeMs: z.number(),
    level: z.enum(['info', 'warning', 'error']),
    kind: z.enum(['peer', 'placement', 'lap', 'request', 'server']),
    text: z.string().max(4_096),
    peerId: z.string().max(64).optional(),
    coordinator: z.string().max(256),
  }),
  /** A ConsoleSnapshot of the sender, for members that have a console open. */
  snapshot: z.object({
    /** Of Shoal: another may have other fields, so that it is not shown. */
    version: z.string().max(64),
    snapshot: z.record(z.string(), z.unknown()),
    figures: z.object({
      tokensPerSecond: z.number(),
      requests: count,
      tabs: count,
      guestLinks: count,
      eventLoopP99Ms: z.number(),
    }),
    isCut: z.boolean(),
  }),
  /** A console's command about something that the receiver may have; `reply` answers it. */
  command: z.object({ id: count, who: z.string().max(512), command: commandSchema }),
  reply: z.object({ id: count, ok: z.boolean(), message: z.string().max(4_096).optional() }),
  /** Failures of a donor that the sender has counted, as Quarantine keeps them. */
  quarantine: z.object({ donorId: donor, entries: z.array(quarantineEntry).max(16) }),
  /** Rows of donors that the sender has found right: new ones, or all that it knows of. */
  right: z.object({ isAll: z.boolean(), rows: z.array(z.tuple([donor, count, count])).max(MAX_RIGHT_DONORS) }),
} satisfies Record<string, z.ZodType>;

export type BusKind = keyof typeof BUS_SCHEMAS;
export type BusMessages = { [K in BusKind]: z.infer<(typeof BUS_SCHEMAS)[K]> };

export const isBusKind = (kind: string): kind is BusKind => Object.hasOwn(BUS_SCHEMAS, kind);
