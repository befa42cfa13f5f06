import { createHmac } from 'node:crypto';
import type { AlertMessage, AttentionItem } from '@shoal/protocol';
import { afterAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { WriteQueue } from '../database/index.ts';
import { memoryDatabase } from '../database/testing/memory-database.ts';
import { databaseAlerts } from './alert-store.ts';
import { Alerter, type AlertStore, type OpenAlert } from './alerter.ts';
import { sign, Webhook } from './webhook.ts';

const HOOK = new URL('https://hooks.example/secret-path');
const SECOND_MS = 1_000;
const MINUTE_MS = 60_000;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance', 'setTimeout', 'clearTimeout'] });
  return () => void vi.useRealTimers();
});

/** A webhook whose answers the test says; statuses, or errors that fetch rejects with. */
function webhookRig(answers: (number | Error | Response)[], secret?: string) {
  const asked: { headers: Record<string, string>; body: string; redirect: unknown }[] = [];
  const given: string[] = [];
  const webhook = new Webhook({
    url: () => HOOK,
    secret,
    userAgent: 'shoal/1',
    onGivenUp: ({ summary }, why) => given.push(`${summary}: ${why}`),
    fetch: (_url, init) => {
      asked.push(init as unknown as (typeof asked)[number]);
      const answer = answers.shift() ?? 200;
      if (answer instanceof Error) return Promise.reject(answer);
      return Promise.resolve(typeof answer === 'number' ? new Response(null, { status: answer }) : answer);
    },
  });
  return { webhook, asked, given };
}
const message = (summary: string) => ({ id: 'i', summary, state: 'firing' }) as AlertMessage;
const settle = (): Promise<void> => vi.advanceTimersByTimeAsync(0).then(() => {});

describe('Webhook', () => {
  it('signs time and body, follows no redirect, and tells nobody its path', async () => {
    const { webhook, asked } = webhookRig([200], 'hush');
    expect(await webhook.post(message('a'))).toEqual({ ok: true });
    const [{ headers, body, redirect }] = asked as [(typeof asked)[0]];
    const [, at, given] = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(headers['shoal-signature']!)!;
    expect(given).toBe(createHmac('sha256', 'hush').update(`${at}.${body}`).digest('hex'));
    expect(sign('hush', Number(at), body)).toBe(headers['shoal-signature']);
    expect(redirect).toBe('error');
    const failed = webhookRig([Object.assign(new TypeError('fetch failed'), { cause: { code: 'ECONNREFUSED' } })]);
    expect(await failed.webhook.post(message('a'))).toMatchObject({
      ok: false,
      why: 'the webhook cannot be reached (ECONNREFUSED)',
    });
    expect(failed.asked[0]!.headers).not.toHaveProperty('shoal-signature');
  });

  it('tries again ever later, in order, and gives up in the end', async () => {
    const { webhook, asked, given } = webhookRig([500, 503, 500, 500, 500, 500]);
    webhook.send(message('a'));
    webhook.send(message('b'));
    await settle();
    const times: number[] = [];
    for (let s = 0; s < 50 * 60 && asked.length < 7; s++) {
      const before = asked.length;
      await vi.advanceTimersByTimeAsync(SECOND_MS);
      if (asked.length > before) times.push(s + 1);
    }
    // b goes as soon as a was given up.
    expect(times).toEqual([5, 35, 155, 755, 2_555]);
    expect(given).toEqual(['a: the webhook answered with status 500']);
    expect(asked.map(({ body }) => (JSON.parse(body) as AlertMessage).summary).join('')).toBe('aaaaaab');
    expect(webhook).toMatchObject({ delivered: 1, failed: 1, waiting: 0 });
  });

  it('waits as long as it is asked to, and does not repeat what is refused for good', async () => {
    const { webhook, asked, given } = webhookRig([
      new Response(null, { status: 429, headers: { 'retry-after': '60' } }),
      200,
      404,
    ]);
    const delivered = vi.fn();
    webhook.send(message('a'), delivered);
    await settle();
    await vi.advanceTimersByTimeAsync(59 * SECOND_MS);
    expect(asked).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(SECOND_MS);
    expect(delivered).toHaveBeenCalledOnce();
    webhook.send(message('b'));
    await settle();
    expect(given).toEqual(['b: the webhook answered with status 404']);
  });

  it('holds a bounded number of messages, the newest', async () => {
    const { webhook, given } = webhookRig(Array.from({ length: 200 }, () => 500));
    for (let i = 0; i < 150; i++) webhook.send(message(String(i)));
    await settle();
    expect(webhook.waiting).toBe(100);
    expect(given).toHaveLength(50);
    expect(given[0]).toMatch(/^0: 100 newer/);
    webhook.close();
    expect(webhook.waiting).toBe(0);
  });
});

/** An alerter on its own clock, and what it has sent. */
function alerterRig(store: AlertStore = fakeStore()) {
  const sent: AlertMessage[] = [];
  const at = { ms: 1e12, leads: true, url: HOOK as URL | undefined };
  const alerter = new Alerter({
    webhook: {
      send: (one, onDelivered) => {
        sent.push(one);
        onDelivered?.();
      },
      post: () => Promise.resolve({ ok: true }),
      delivered: 0,
      failed: 0,
      waiting: 0,
      lastError: null,
    },
    url: () => at.url,
    isSigned: false,
    store,
    tells: () => at.leads,
    model: 'tiny',
    sender: 'a:1',
    publicUrl: new URL('https://shoal.example/shoal'),
    now: () => at.ms,
  });
  /** Lets time pass, with the items looked at every five seconds. */
  const pass = async (ms: number, ...items: AttentionItem[]): Promise<void> => {
    for (const end = at.ms + ms; at.ms < end; at.ms += 5 * SECOND_MS) {
      alerter.take(items);
      await settle();
    }
  };
  const states = (): string[] => sent.map(({ state, key }) => `${state} ${key}`);
  return { alerter, sent, at, pass, states, store };
}

function fakeStore(): AlertStore & { open: Map<string, OpenAlert> } {
  const open = new Map<string, OpenAlert>();
  return {
    open,
    read: () => Promise.resolve([...open.values()]),
    put: (alert) => void open.set(alert.item.key, alert),
    remove: (key) => void open.delete(key),
  };
}

const item = (key: string, severity: AttentionItem['severity'] = 'urgent', sinceMs = 1e12): AttentionItem => ({
  key,
  severity,
  text: `${key} is the matter`,
  remedy: 'Mend it.',
  href: '#map',
  sinceMs,
});

describe('Alerter', () => {
  it('tells what lasts, once, and that it is over; never what is only a notice', async () => {
    const { pass, states, sent } = alerterRig();
    await pass(50 * SECOND_MS, item('disk'), item('slow', 'warning'), item('tabs', 'notice'));
    expect(states()).toEqual([]);
    await pass(20 * SECOND_MS, item('disk'), item('slow', 'warning'), item('tabs', 'notice'));
    expect(states()).toEqual(['firing disk']);
    await pass(10 * MINUTE_MS, item('disk'), item('slow', 'warning'), item('tabs', 'notice'));
    expect(states()).toEqual(['firing disk', 'firing slow']);
    await pass(50 * SECOND_MS, item('slow', 'warning'));
    await pass(10 * MINUTE_MS, item('disk'), item('slow', 'warning'));
    expect(states()).toHaveLength(2);
    await pass(2 * MINUTE_MS);
    expect(states().slice(2)).toEqual(['resolved disk', 'resolved slow']);
    expect(sent[2]!.id).toBe(sent[0]!.id);
    expect(sent[0]).toMatchObject({
      text: '[urgent] tiny: disk is the matter. Mend it. https://shoal.example/shoal/console#map',
      summary: 'disk is the matter',
      startedAt: new Date(1e12).toISOString(),
      sender: 'a:1',
    });
    expect(sent[2]!.endedAt).toBeDefined();
  });

  it('tells again when a warning becomes urgent', async () => {
    const { pass, sent } = alerterRig();
    await pass(6 * MINUTE_MS, item('disk', 'warning'));
    await pass(MINUTE_MS, item('disk', 'urgent'));
    expect(sent.map(({ severity, id }) => `${severity} ${id === sent[0]!.id}`)).toEqual([
      'warning true',
      'urgent true',
    ]);
  });

  it('is silent where another coordinator leads; one that takes over repeats nothing, and ends what it took over', async () => {
    const store = fakeStore();
    const [first, second] = [alerterRig(store), alerterRig(store)];
    second.at.leads = false;
    await first.pass(2 * MINUTE_MS, item('disk'));
    await second.pass(2 * MINUTE_MS, item('disk'));
    expect([first.states(), second.states()]).toEqual([['firing disk'], []]);
    first.at.leads = false;
    second.at.leads = true;
    await first.pass(10 * MINUTE_MS);
    // Found anew only after a while, as after a restart.
    await second.pass(3 * MINUTE_MS);
    await second.pass(3 * MINUTE_MS, item('disk'));
    expect([first.states().length, second.states()]).toEqual([1, []]);
    await second.pass(8 * MINUTE_MS);
    expect(second.states()).toEqual(['resolved disk']);
    expect(second.sent[0]!.id).toBe(first.sent[0]!.id);
    expect(store.open.size).toBe(0);
  });

  it('tells nothing without a webhook, and what still holds once there is one', async () => {
    const { pass, states, at, alerter } = alerterRig();
    at.url = undefined;
    await pass(10 * MINUTE_MS, item('disk'));
    expect([states(), alerter.view.webhook]).toEqual([[], null]);
    at.url = HOOK;
    await pass(5 * SECOND_MS, item('disk'));
    expect(states()).toEqual(['firing disk']);
    expect(alerter.view).toMatchObject({ webhook: 'hooks.example', open: [{ key: 'disk' }] });
  });
});

describe('databaseAlerts', async () => {
  vi.useRealTimers();
  const database = await memoryDatabase();
  afterAll(() => database.close());

  it('keep what is open, by cluster', async () => {
    vi.useRealTimers();
    const queue = new WriteQueue(database);
    const [store, other] = ['one', 'two'].map((cluster) => databaseAlerts(database, queue, cluster)) as [
      AlertStore,
      AlertStore,
    ];
    store.put({ id: '1', item: item('disk', 'warning') });
    store.put({ id: '1', item: item('disk', 'urgent') });
    store.put({ id: '2', item: item('clock') });
    store.remove('clock');
    other.put({ id: '3', item: item('disk') });
    await queue.close();
    expect(await store.read()).toEqual([{ id: '1', item: item('disk', 'urgent') }]);
  });
});
