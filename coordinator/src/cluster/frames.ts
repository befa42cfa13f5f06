import { z } from 'zod';

/** A notification holds less than 8,000 bytes (Postgres, NOTIFY). */
export const MAX_FRAME_BYTES = 7_900;
/** Of sender and number around the messages. */
const ENVELOPE_BYTES = 64;

/** One message as `[kind, message]` in JSON. */
export interface Parcel {
  channel: string;
  text: string;
  bytes: number;
}

export interface Packed {
  channel: string;
  /** `[[kind, message], …]` in JSON: what a notification carries, or a row of `bus_messages` if it is too long for one. */
  messages: string;
  count: number;
  isLong: boolean;
}

/** Packs messages in their order, neighbours for the same channel together as long as a notification holds them. */
export function packFrames(parcels: readonly Parcel[]): Packed[] {
  const packed: Packed[] = [];
  let group: Parcel[] = [];
  let bytes = 0;
  const flush = (): void => {
    if (group.length === 0) return;
    const messages = `[${group.map(({ text }) => text).join(',')}]`;
    packed.push({ channel: group[0]!.channel, messages, count: group.length, isLong: bytes > MAX_FRAME_BYTES });
    group = [];
  };
  for (const parcel of parcels) {
    const isFull = bytes + parcel.bytes + 1 > MAX_FRAME_BYTES;
    if (group[0]?.channel !== parcel.channel || isFull) {
      flush();
      bytes = ENVELOPE_BYTES;
    }
    group.push(parcel);
    bytes += parcel.bytes + 1;
  }
  flush();
  return packed;
}

const messagesSchema = z.array(z.tuple([z.string().max(64), z.unknown()])).max(10_000);
/** `[sender, number, messages]`, with the id of a row of `bus_messages` where the messages are too long. */
const frameSchema = z.tuple([z.string().max(64), z.number().int().min(1), z.union([z.number().int(), messagesSchema])]);

export type Messages = z.infer<typeof messagesSchema>;
export interface Frame {
  from: string;
  /** Counted from 1, by sender and channel. */
  seq: number;
  /** A number is the id of the row that has them. */
  messages: Messages | number;
}

/** Undefined if it is none. */
export function readFrame(payload: string): Frame | undefined {
  try {
    const [from, seq, messages] = frameSchema.parse(JSON.parse(payload));
    return { from, seq, messages };
  } catch {
    return undefined;
  }
}

export const readMessages = (body: unknown): Messages | undefined => messagesSchema.safeParse(body).data;
