import { z } from 'zod';

/** In one message. */
export const MAX_TOLD_ENTRIES = 200;

/** What members say to each other, by kind. Every kind has a schema, since members may be of different versions. */
export const BUS_SCHEMAS = {
  /** Something changed in the database that the receiver should read again now rather than at its next look. */
  look: z.object({ what: z.string().max(64) }),
  /** Entries of a ToldMap: those that changed, or all of them, in parts of which the first says so. Null: no longer there. */
  told: z.object({
    map: z.string().max(64),
    isAll: z.boolean(),
    entries: z.array(z.tuple([z.string().max(256), z.unknown()])).max(MAX_TOLD_ENTRIES),
  }),
  /** Asks for all entries of a ToldMap. */
  tell: z.object({ map: z.string().max(64) }),
  /** To the leader: recent rows of each expert, a byte each (`ClusterLoad`). V3's 14,848 experts take 20 kB. */
  load: z.object({ rows: z.base64().max(2 ** 17) }),
} satisfies Record<string, z.ZodType>;

export type BusKind = keyof typeof BUS_SCHEMAS;
export type BusMessages = { [K in BusKind]: z.infer<(typeof BUS_SCHEMAS)[K]> };

export const isBusKind = (kind: string): kind is BusKind => Object.hasOwn(BUS_SCHEMAS, kind);
