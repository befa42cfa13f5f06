import { createHmac } from 'node:crypto';
import type { AlertMessage } from '@shoal/protocol';
import { messageOf } from '@shoal/model';
import { type Clock, systemClock, type Timer } from '../base/clock.ts';

/** Slack and Discord answer within a second. */
const TIMEOUT_MS = 10_000;
/** Waits before each further attempt: about three quarters of an hour in all, in which most services are back. */
const RETRY_MS = [5_000, 30_000, 120_000, 600_000, 1_800_000] as const;
/** The longest that a service's Retry-After is followed. */
const MAX_RETRY_AFTER_MS = 600_000;
/** Conditions are few, so that many messages are of one that comes and goes. */
const MAX_WAITING = 100;

export interface WebhookOptions {
  /** Where messages go now; undefined if nowhere. */
  url: () => URL | undefined;
  /** By which they are signed. */
  secret: string | undefined;
  userAgent: string;
  /** Called when a message was given up. */
  onGivenUp: (message: AlertMessage, why: string) => void;
  clock?: Clock;
  fetch?: typeof fetch;
}

interface Waiting {
  message: AlertMessage;
  attempts: number;
  onDelivered: () => void;
}

export type Delivery = { ok: true } | { ok: false; why: string; retryAfterMs: number | null };

/** Sends messages to a webhook, one after the other, and tries again for a while. Nothing waits for it. */
export class Webhook {
  readonly #options: WebhookOptions;
  readonly #clock: Clock;
  readonly #waiting: Waiting[] = [];
  #isSending = false;
  #timer: Timer | undefined;
  #closed = false;
  delivered = 0;
  failed = 0;
  lastError: string | null = null;

  constructor(options: WebhookOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** Takes a message. Of too many the oldest is given up. */
  send(message: AlertMessage, onDelivered: () => void = () => {}): void {
    if (this.#waiting.length >= MAX_WAITING) this.#giveUp(this.#waiting.shift()!, `${MAX_WAITING} newer ones wait`);
    this.#waiting.push({ message, attempts: 0, onDelivered });
    if (!this.#timer) void this.#work();
  }

  /** One attempt, at once. Never rejects. */
  async post(message: AlertMessage): Promise<Delivery> {
    const { secret, userAgent, url: read, fetch: ask = fetch } = this.#options;
    const url = read();
    if (!url) return failure('there is no webhook');
    const body = JSON.stringify(message);
    const atS = Math.floor(Date.now() / 1_000);
    const signature = secret === undefined ? {} : { 'shoal-signature': sign(secret, atS, body) };
    try {
      const response = await ask(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'user-agent': userAgent, ...signature },
        body,
        // It would lead to where the operator did not send it.
        redirect: 'error',
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      await response.body?.cancel();
      return deliveryOf(response);
    } catch (error) {
      return { ok: false, why: whyOf(error), retryAfterMs: 0 };
    }
  }

  close(): void {
    this.#closed = true;
    this.#clock.clear(this.#timer);
    this.#waiting.length = 0;
  }

  async #work(): Promise<void> {
    if (this.#isSending) return;
    this.#isSending = true;
    for (let next = this.#waiting[0]; next && !this.#closed && !this.#timer; next = this.#waiting[0]) {
      const delivery = await this.post(next.message);
      // It may have been given up meanwhile.
      if (this.#waiting[0] === next) this.#settle(next, delivery);
    }
    this.#isSending = false;
  }

  #settle(waiting: Waiting, delivery: Delivery): void {
    if (delivery.ok) {
      this.#waiting.shift();
      this.delivered++;
      this.lastError = null;
      return waiting.onDelivered();
    }
    this.lastError = delivery.why;
    const waitMs = RETRY_MS[waiting.attempts++];
    if (delivery.retryAfterMs === null || waitMs === undefined) {
      this.#waiting.shift();
      return this.#giveUp(waiting, delivery.why);
    }
    const retryMs = Math.max(waitMs, Math.min(delivery.retryAfterMs, MAX_RETRY_AFTER_MS));
    this.#timer = this.#clock.setTimeout(() => {
      this.#timer = undefined;
      void this.#work();
    }, retryMs);
    this.#timer.unref();
  }

  #giveUp({ message }: Waiting, why: string): void {
    this.failed++;
    this.#options.onGivenUp(message, why);
  }
}

/** As Stripe signs: over the time as well, so that a message that was recorded cannot be sent again later. */
export function sign(secret: string, atS: number, body: string): string {
  const digest = createHmac('sha256', secret).update(`${atS}.${body}`).digest('hex');
  return `t=${atS},v1=${digest}`;
}

const failure = (why: string): Delivery => ({ ok: false, why, retryAfterMs: null });

/** What is not this message's fault is tried again. */
function deliveryOf({ ok, status, headers }: Response): Delivery {
  if (ok) return { ok: true };
  const why = `the webhook answered with status ${status}`;
  if (status !== 408 && status !== 429 && status < 500) return failure(why);
  const seconds = Number(headers.get('retry-after'));
  return { ok: false, why, retryAfterMs: Number.isFinite(seconds) ? Math.max(0, seconds * 1_000) : 0 };
}

/** Without the address, which is often a secret. */
function whyOf(error: unknown): string {
  const { name, cause } = error as Error & { cause?: unknown };
  if (name === 'TimeoutError') return `the webhook did not answer within ${TIMEOUT_MS / 1_000} s`;
  const code = (cause as { code?: string } | undefined)?.code;
  if (code !== undefined) return `the webhook cannot be reached (${code})`;
  return cause instanceof Error ? `the webhook cannot be reached (${cause.message})` : messageOf(error);
}
