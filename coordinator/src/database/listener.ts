import type pg from 'pg';
import { Backoff } from './reach.ts';

/** Between two queries that tell whether the connection still lives: a network that was cut says nothing. */
const HEARTBEAT_MS = 5_000;

interface Listening {
  onPayload: (payload: string) => void;
  onResumed: () => void;
}

interface ListenerHooks {
  onReached: () => void;
  onMissed: (why: string) => void;
}

/** One connection for all LISTENs of a database. It connects at the first, and again after each loss. */
export class Listener {
  readonly #newClient: () => pg.Client;
  readonly #hooks: ListenerHooks;
  readonly #channels = new Map<string, Set<Listening>>();
  readonly #backoff = new Backoff();
  #client: pg.Client | undefined;
  #connecting: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #wasConnected = false;
  #closed = false;

  constructor(newClient: () => pg.Client, hooks: ListenerHooks) {
    this.#newClient = newClient;
    this.#hooks = hooks;
  }

  async listen(
    channel: string,
    onPayload: (payload: string) => void,
    onResumed: () => void = () => {},
  ): Promise<() => Promise<void>> {
    if (!/^[a-z_][a-z0-9_]{0,62}$/.test(channel))
      throw new RangeError(`A channel's name is lower-case letters, digits and "_", not "${channel}"`);
    const listening: Listening = { onPayload, onResumed };
    const all = this.#channels.get(channel) ?? new Set();
    const isNew = all.size === 0;
    this.#channels.set(channel, all.add(listening));
    if (!this.#client) await this.#connect();
    else if (isNew) await this.#client.query(`listen ${channel}`).catch(() => {});
    return async () => {
      all.delete(listening);
      if (all.size > 0 || this.#channels.get(channel) !== all) return;
      this.#channels.delete(channel);
      await this.#client?.query(`unlisten ${channel}`).catch(() => {});
    };
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#connecting;
    const client = this.#client;
    this.#client = undefined;
    await client?.end().catch(() => {});
  }

  #connect(): Promise<void> {
    clearTimeout(this.#timer);
    return (this.#connecting ??= this.#connectOnce().finally(() => (this.#connecting = undefined)));
  }

  async #connectOnce(): Promise<void> {
    const client = this.#newClient();
    const lost = (error?: Error): void => {
      if (error) this.#hooks.onMissed(error.message);
      if (this.#client !== client) return;
      this.#client = undefined;
      if (!error) this.#hooks.onMissed('the connection ended');
      this.#connectLater();
    };
    client.on('error', lost);
    client.on('end', () => lost());
    client.on('notification', ({ channel, payload }) => {
      for (const { onPayload } of this.#channels.get(channel) ?? []) onPayload(payload ?? '');
    });
    try {
      await client.connect();
      for (const channel of this.#channels.keys()) await client.query(`listen ${channel}`);
    } catch (error) {
      this.#hooks.onMissed((error as Error).message);
      void client.end().catch(() => {});
      this.#connectLater();
      return;
    }
    if (this.#closed) return void client.end().catch(() => {});
    this.#client = client;
    this.#backoff.reset();
    this.#hooks.onReached();
    this.#beat(client);
    const resumed = this.#wasConnected ? [...this.#channels.values()].flatMap((all) => [...all]) : [];
    this.#wasConnected = true;
    for (const { onResumed } of resumed) onResumed();
  }

  #connectLater(): void {
    if (this.#closed) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#connect(), this.#backoff.next()).unref();
  }

  #beat(client: pg.Client): void {
    this.#timer = setTimeout(() => {
      client.query('select 1').then(
        () => this.#client === client && this.#beat(client),
        // Ends it, which `lost` takes up.
        () => void client.end().catch(() => {}),
      );
    }, HEARTBEAT_MS).unref();
  }
}
