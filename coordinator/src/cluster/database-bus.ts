import { EventEmitter } from 'node:events';
import { sql } from 'kysely';
import type { Database } from '../database/database.ts';
import { type BusKind, type BusMessages, isBusKind } from './bus-messages.ts';
import { ALL, type Bus, type BusEvents } from './cluster.ts';
import { type Frame, type Messages, type Packed, packFrames, type Parcel, readFrame, readMessages } from './frames.ts';
import { Handlers } from './handlers.ts';
import { QUERY_DEADLINE_MS } from './times.ts';
import { within } from './within.ts';

/** What waits to be sent, and what waits of each sender to be handled, while long messages are read. */
const MAX_WAITING = { messages: 4_096, bytes: 8 * 1024 * 1024 };
/** A longer message is a fault of this program. */
const MAX_MESSAGE_BYTES = 4 * 1024 * 1024;
/** Long messages are deleted after a minute, and looked for at most so often. */
const KEEP_LONG = '1 minute';
const TIDY_MS = 30_000;

interface Options {
  database: Database;
  /** Of the cluster. */
  key: string;
  /** Member id. */
  self: string;
  /** Whether there is anybody else. */
  hasOthers: () => boolean;
}

/** How far messages of a sender on a channel have come. */
interface Stream {
  seq: number;
  /** Ends with the last frame that has come; those after it wait. */
  handled: Promise<void>;
  waiting: number;
}

/** Messages over NOTIFY, in few statements: what is sent while one is under way goes together in the next. */
export class DatabaseBus implements Bus {
  readonly self: string;
  readonly events = new EventEmitter<BusEvents>();
  /** `lost`: messages that were dropped here, or that others sent and that never came. */
  readonly counts = { sent: 0, received: 0, sentBytes: 0, receivedBytes: 0, lost: 0 };
  readonly #options: Options;
  readonly #handlers = new Handlers();
  readonly #seqs = new Map<string, number>();
  readonly #streams = new Map<string, Stream>();
  readonly #stops: (() => Promise<void>)[] = [];
  #waiting: Parcel[] = [];
  #waitingBytes = 0;
  #sending: Promise<void> | undefined;
  #tidiedMs = Number.NEGATIVE_INFINITY;
  #closed = false;

  constructor(options: Options) {
    this.#options = options;
    this.self = options.self;
  }

  async start(): Promise<void> {
    const { database, key } = this.#options;
    const missed = (): unknown => this.events.emit('missed');
    const channels = [channelOf(key, ALL), channelOf(key, this.self)];
    for (const [i, channel] of channels.entries()) {
      const onPayload = (payload: string): void => this.#receive(channel, payload);
      // Once is enough for both.
      this.#stops.push(await database.listen(channel, onPayload, i === 0 ? missed : undefined));
    }
  }

  on<K extends BusKind>(kind: K, handle: (from: string, message: BusMessages[K]) => void): () => void {
    return this.#handlers.on(kind, handle);
  }

  send<K extends BusKind>(to: string, kind: K, message: BusMessages[K]): void {
    if (this.#closed || (to === ALL && !this.#options.hasOthers())) return;
    const text = JSON.stringify([kind, message]);
    const bytes = Buffer.byteLength(text);
    const isFull = this.#waiting.length >= MAX_WAITING.messages || this.#waitingBytes + bytes > MAX_WAITING.bytes;
    if (isFull || bytes > MAX_MESSAGE_BYTES || this.#options.database.isAway) {
      this.counts.lost++;
      return;
    }
    this.#waiting.push({ channel: channelOf(this.#options.key, to), text, bytes });
    this.#waitingBytes += bytes;
    this.#sending ??= this.#sendAll();
  }

  /** Sends what waits, within the time of a query. */
  async close(): Promise<void> {
    await this.#sending;
    this.#closed = true;
    await Promise.all(this.#stops.splice(0).map((stop) => within(QUERY_DEADLINE_MS, stop()).catch(() => {})));
  }

  async #sendAll(): Promise<void> {
    // What is sent in the same turn of the event loop goes together.
    await new Promise(setImmediate);
    while (this.#waiting.length > 0) {
      const parcels = this.#waiting;
      this.#waiting = [];
      this.#waitingBytes = 0;
      try {
        await within(QUERY_DEADLINE_MS, this.#notify(packFrames(parcels)));
        this.counts.sent += parcels.length;
        for (const { bytes } of parcels) this.counts.sentBytes += bytes;
      } catch {
        // Sent again they might come twice, or after later ones. Receivers see the gap in the numbers.
        this.counts.lost += parcels.length;
      }
    }
    this.#sending = undefined;
  }

  async #notify(frames: readonly Packed[]): Promise<void> {
    const { db } = this.#options.database;
    const numbered = frames.map((frame) => ({ ...frame, seq: this.#nextSeq(frame.channel) }));
    const long = numbered.filter(({ isLong }) => isLong);
    const rowOf = long.length > 0 ? await this.#keep(long) : new Map<Packed, number>();
    const payloads = numbered.map((frame) => {
      const row = rowOf.get(frame);
      return `[${JSON.stringify(this.self)},${frame.seq},${row ?? frame.messages}]`;
    });
    const channels = numbered.map(({ channel }) => channel);
    await sql`
      select pg_notify(channel, payload) from
        (select * from unnest(${channels}::text[], ${payloads}::text[]) with ordinality as f (channel, payload, place)
         order by place) as frames`.execute(db);
  }

  /** Keeps long messages in rows, and resolves to their ids. */
  async #keep(frames: readonly Packed[]): Promise<Map<Packed, number>> {
    const { db } = this.#options.database;
    await this.#tidy();
    const values = frames.map(({ channel, messages }) => ({ recipient: channel, body: messages }));
    const rows = await db.insertInto('bus_messages').values(values).returning('id').execute();
    return new Map(frames.map((frame, i) => [frame, Number(rows[i]!.id)]));
  }

  async #tidy(): Promise<void> {
    const nowMs = performance.now();
    if (nowMs < this.#tidiedMs + TIDY_MS) return;
    this.#tidiedMs = nowMs;
    await sql`delete from bus_messages where at < now() - ${KEEP_LONG}::interval`.execute(this.#options.database.db);
  }

  #nextSeq(channel: string): number {
    const seq = (this.#seqs.get(channel) ?? 0) + 1;
    this.#seqs.set(channel, seq);
    return seq;
  }

  #receive(channel: string, payload: string): void {
    const frame = readFrame(payload);
    if (!frame || frame.from === this.self || this.#closed) return;
    this.counts.receivedBytes += payload.length;
    const name = `${channel} ${frame.from}`;
    const stream = this.#streams.get(name) ?? { seq: frame.seq - 1, handled: Promise.resolve(), waiting: 0 };
    this.#streams.set(name, stream);
    if (frame.seq !== stream.seq + 1) this.#missed(Math.max(1, frame.seq - stream.seq - 1));
    stream.seq = frame.seq;
    if (typeof frame.messages !== 'number' && stream.waiting === 0) this.#handle(frame.from, frame.messages);
    else this.#handleLater(stream, frame);
  }

  /** Forgets senders that have left. */
  forget(member: string): void {
    for (const name of this.#streams.keys()) if (name.endsWith(` ${member}`)) this.#streams.delete(name);
    this.#seqs.delete(channelOf(this.#options.key, member));
  }

  /** In the sender's order, where a row is still being read. */
  #handleLater(stream: Stream, { from, messages }: Frame): void {
    if (stream.waiting >= MAX_WAITING.messages) return this.#missed(1);
    stream.waiting++;
    stream.handled = stream.handled.then(async () => {
      const found = typeof messages === 'number' ? await this.#fetch(messages) : messages;
      stream.waiting--;
      if (found) this.#handle(from, found);
      else this.#missed(1);
    });
  }

  async #fetch(id: number): Promise<Messages | undefined> {
    const { db } = this.#options.database;
    const query = db.selectFrom('bus_messages').select('body').where('id', '=', id).executeTakeFirst();
    const row = await within(QUERY_DEADLINE_MS, query).catch(() => undefined);
    const body = readMessages(row?.body);
    if (body) this.counts.receivedBytes += JSON.stringify(body).length;
    return body;
  }

  #handle(from: string, messages: Messages): void {
    this.counts.received += messages.length;
    for (const [kind, message] of messages) {
      // A newer member may say more than this one understands.
      if (isBusKind(kind) && !this.#handlers.handle(kind, from, message)) this.counts.lost++;
    }
  }

  #missed(frames: number): void {
    this.counts.lost += frames;
    this.events.emit('missed');
  }
}

/** Channels are lower-case names of Postgres; keys and ids have no other characters than these and "-". */
function channelOf(key: string, to: string): string {
  return `shoal_${key}${to === ALL ? '' : `_${to}`}`.replaceAll(/[^a-z0-9_]/g, '_');
}
