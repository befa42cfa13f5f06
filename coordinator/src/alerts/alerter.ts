import { randomBytes } from 'node:crypto';
import type { AlertMessage, AlertsView, AttentionItem, Severity } from '@shoal/protocol';
import { steadyUnixMs } from '../base/clock.ts';
import type { Delivery, Webhook } from './webhook.ts';

/** What mends itself within this time nobody has to know at night. */
const LASTS_MS: Readonly<Record<Severity, number>> = { urgent: 60_000, warning: 300_000, notice: Infinity };
/** From when it is last seen until it counts as over. */
const OVER_AFTER_MS = 60_000;
/** After a start, or a change of leaders, conditions have to be found anew before one can be missed. */
const SETTLES_MS = 300_000;

/** A condition that was told and is not over. */
export interface OpenAlert {
  id: string;
  item: AttentionItem;
}

/** Keeps open alerts over a restart and a change of leaders. */
export interface AlertStore {
  read(): Promise<OpenAlert[]>;
  /** Neither waits. */
  put(alert: OpenAlert): void;
  remove(key: string): void;
}

export interface AlerterOptions {
  webhook: Pick<Webhook, 'send' | 'post' | 'delivered' | 'failed' | 'waiting' | 'lastError'>;
  url: () => URL | undefined;
  isSigned: boolean;
  store: AlertStore;
  /** Whether this coordinator is the one that tells, of those of its cluster. */
  tells: () => boolean;
  model: string;
  /** Name of this coordinator. */
  sender: string;
  /** The address that people open, for a link. */
  publicUrl?: URL | undefined;
  /** Epoch milliseconds that go on evenly. */
  now?: () => number;
}

/** Tells a webhook of what needs attention and lasts, once, and when it is over. */
export class Alerter {
  readonly #options: AlerterOptions;
  readonly #now: () => number;
  readonly #open = new Map<string, OpenAlert & { seenMs: number }>();
  /** Since when it tells, and knows what was told before. */
  #tellsSinceMs: number | undefined;
  #isReading = false;

  constructor(options: AlerterOptions) {
    this.#options = options;
    this.#now = options.now ?? steadyUnixMs;
  }

  /** Takes what needs attention now. */
  take(items: readonly AttentionItem[]): void {
    const { tells, url } = this.#options;
    if (!tells()) {
      this.#open.clear();
      this.#tellsSinceMs = undefined;
      return;
    }
    if (this.#tellsSinceMs === undefined) return void this.#begin();
    const nowMs = this.#now();
    for (const item of items) {
      const known = this.#open.get(item.key);
      if (known) this.#stillHolds(known, item, nowMs);
      else if (url() && nowMs - item.sinceMs >= LASTS_MS[item.severity]) this.#tell(item, nowMs);
    }
    for (const alert of this.#open.values()) {
      const missedMs = nowMs - Math.max(alert.seenMs, this.#tellsSinceMs + SETTLES_MS - OVER_AFTER_MS);
      if (missedMs >= OVER_AFTER_MS) this.#isOver(alert, nowMs);
    }
  }

  get view(): AlertsView {
    const { webhook, url, isSigned } = this.#options;
    const { delivered, failed, waiting, lastError } = webhook;
    return {
      webhook: url()?.host ?? null,
      isSigned,
      open: [...this.#open.values()].map(({ item: { key, text, sinceMs } }) => ({ key, text, sinceMs })),
      delivered,
      failed,
      waiting,
      lastError,
    };
  }

  /** Sends a message that is about nothing. `by`: the admin who asked. */
  test(by: string): Promise<Delivery> {
    const item: AttentionItem = {
      key: 'test',
      severity: 'notice',
      text: `${by} tests the alerts of this coordinator`,
      remedy: 'Nothing needs to be done.',
      href: '#alerts',
      sinceMs: this.#now(),
    };
    return this.#options.webhook.post(this.#message(newId(), 'test', item));
  }

  async #begin(): Promise<void> {
    if (this.#isReading) return;
    this.#isReading = true;
    try {
      const nowMs = this.#now();
      for (const alert of await this.#options.store.read()) this.#open.set(alert.item.key, { ...alert, seenMs: nowMs });
      this.#tellsSinceMs = nowMs;
    } catch {
      // It is tried again with the next items.
    }
    this.#isReading = false;
  }

  #stillHolds(alert: OpenAlert & { seenMs: number }, item: AttentionItem, nowMs: number): void {
    const isWorse = item.severity === 'urgent' && alert.item.severity !== 'urgent';
    Object.assign(alert, { item, seenMs: nowMs });
    if (isWorse) this.#send('firing', alert);
  }

  #tell(item: AttentionItem, nowMs: number): void {
    const alert = { id: newId(), item, seenMs: nowMs };
    this.#open.set(item.key, alert);
    this.#send('firing', alert);
  }

  #isOver(alert: OpenAlert, nowMs: number): void {
    this.#open.delete(alert.item.key);
    this.#options.store.remove(alert.item.key);
    this.#options.webhook.send(this.#message(alert.id, 'resolved', alert.item, nowMs));
  }

  /** It counts as told once it is delivered: a coordinator that ends before has another tell it. */
  #send(state: 'firing', alert: OpenAlert): void {
    const { webhook, store } = this.#options;
    webhook.send(this.#message(alert.id, state, alert.item), () => {
      if (this.#open.get(alert.item.key)?.id === alert.id) store.put({ id: alert.id, item: alert.item });
    });
  }

  #message(id: string, state: AlertMessage['state'], item: AttentionItem, endedMs?: number): AlertMessage {
    const { model, sender, publicUrl } = this.#options;
    const { key, severity, text: summary, remedy, sinceMs, coordinator } = item;
    const about = coordinator === undefined ? model : `${model}, ${coordinator}`;
    const link = publicUrl ? ` ${new URL('console', slashed(publicUrl))}${item.href}` : '';
    const words = {
      firing: `[${severity}] ${about}: ${summary}. ${remedy}${link}`,
      resolved: `[over] ${about}: ${summary}`,
      test: `[test] ${about}: ${summary}. ${remedy}`,
    };
    const text = words[state];
    return {
      id,
      state,
      key,
      severity,
      text,
      // Discord takes no more.
      content: text.slice(0, 2_000),
      summary,
      remedy,
      startedAt: new Date(sinceMs).toISOString(),
      ...(endedMs !== undefined && { endedAt: new Date(endedMs).toISOString() }),
      model,
      sender,
      ...(coordinator !== undefined && { coordinator }),
    };
  }
}

const newId = (): string => randomBytes(8).toString('hex');

/** So that what is relative to it is beneath it. */
function slashed(url: URL): URL {
  const copy = new URL(url);
  if (!copy.pathname.endsWith('/')) copy.pathname += '/';
  return copy;
}
