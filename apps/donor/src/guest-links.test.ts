import type { connectDonor } from '@shoal/peer';
import { type Guest, type GuestRefused, MAX_COORDINATORS, type Signal } from '@shoal/protocol';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { GuestLinks, HOMELESS_MS } from './guest-links.ts';

type ConnectOptions = Parameters<typeof connectDonor>[0];

/** Connections made, each with what was done to it. */
let made: { options: ConnectOptions; signals: Signal[]; isClosed: boolean }[];
let said: ({ signal: Signal } | { refused: GuestRefused })[];
let ended: string[];
let guests: GuestLinks;
const home = {
  send: (event: 'signal' | 'guest-refused', message: Signal | GuestRefused) =>
    void said.push(event === 'signal' ? { signal: message as Signal } : { refused: message as GuestRefused }),
};

beforeEach(() => {
  vi.useFakeTimers();
  [made, said, ended] = [[], [], []];
  guests = new GuestLinks({
    onLapChannel: () => {},
    onEnd: (coordinator) => ended.push(coordinator),
    connect: (options) => {
      const connection = { options, signals: [] as Signal[], isClosed: false };
      made.push(connection);
      return {
        signal: (signal) => void connection.signals.push(signal),
        sendControl: () => true,
        path: {
          isFound: true,
          addresses: [],
          facts: () => {
            throw new Error('not asked for');
          },
        } as never,
        close: () => {
          connection.isClosed = true;
          options.onEnd?.({ reason: 'closed' });
        },
      };
    },
  });
  guests.settle(home);
});
afterEach(() => vi.useRealTimers());

const nameOf = (n: number): string => `c-0000000${n}`;
const guest = (n: number, attempt = 1): Guest => ({ coordinator: nameOf(n), attempt, open: true, iceServers: [] });
const offer: Signal = { type: 'offer', sdp: 'v=0' };

it('signals over the home, with the name of the guest and the number of its attempt', () => {
  guests.take(guest(1, 7));
  made[0]!.options.onSignal(offer);
  const named = { ...offer, guest: { coordinator: nameOf(1), attempt: 7 } };
  expect(said).toEqual([{ signal: named }]);
  guests.signal({ ...named, type: 'answer' });
  // What is left of an earlier attempt, and what is of a guest that it doesn't know.
  guests.signal({ ...named, guest: { coordinator: nameOf(1), attempt: 6 } });
  guests.signal({ ...named, guest: { coordinator: nameOf(2), attempt: 7 } });
  expect(made[0]!.signals).toEqual([{ type: 'answer', sdp: 'v=0' }]);
});

it('serves as many coordinators as it may, its home among them, and refuses more', () => {
  for (let n = 1; n <= MAX_COORDINATORS; n++) guests.take(guest(n));
  expect(guests.count).toBe(MAX_COORDINATORS - 1);
  expect(said).toEqual([{ refused: { coordinator: nameOf(MAX_COORDINATORS), attempt: 1, code: 'limit' } }]);
  // A new attempt takes the place of the old one.
  guests.take(guest(1, 2));
  expect([guests.count, made[0]!.isClosed, made.length]).toEqual([MAX_COORDINATORS - 1, true, MAX_COORDINATORS]);
  guests.take({ coordinator: nameOf(1), attempt: 1, open: false });
  expect(guests.count).toBe(MAX_COORDINATORS - 1);
  guests.take({ coordinator: nameOf(1), attempt: 2, open: false });
  expect(guests.count).toBe(MAX_COORDINATORS - 2);
  expect(said).toHaveLength(1);
});

it('tells when a link has not opened in time or has failed, and nothing when an open one ends', () => {
  for (const n of [1, 2, 3]) guests.take(guest(n));
  made[1]!.options.onEnd!({ reason: 'failed' });
  made[2]!.options.onOpen!();
  vi.advanceTimersByTime(30_000);
  made[2]!.options.onEnd!({ reason: 'closed' });
  const failed = (n: number) => ({ refused: { coordinator: nameOf(n), attempt: 1, code: 'failed' } });
  expect(said).toEqual([failed(2), failed(1)]);
  expect([guests.count, ended]).toEqual([0, [nameOf(2), nameOf(1), nameOf(3)]]);
});

it('keeps open links for a while without a home, and for good if it finds another', () => {
  for (const n of [1, 2]) guests.take(guest(n));
  made[0]!.options.onOpen!();
  guests.loseHome();
  // Nobody would carry its signals.
  expect(ended).toEqual([nameOf(2)]);
  vi.advanceTimersByTime(HOMELESS_MS - 1);
  guests.settle(home);
  vi.advanceTimersByTime(HOMELESS_MS);
  expect(guests.count).toBe(1);
  guests.loseHome();
  // A second attempt that fails gives it no more time.
  vi.advanceTimersByTime(HOMELESS_MS / 2);
  guests.loseHome();
  vi.advanceTimersByTime(HOMELESS_MS / 2);
  expect([guests.count, made[0]!.isClosed]).toEqual([0, true]);
});
