import { effect, signal } from '@preact/signals';
import type { Command, CommandReply, ConsoleEvent, ConsoleRole, ConsoleSnapshot } from '@shoal/protocol';
import { socketAt } from '@shoal/protocol/page';
import { io, type Socket } from 'socket.io-client';
import { here } from '../here.ts';
import { tabStorage } from '../tab-storage.ts';
import { mergeEvents } from './event-log.ts';

interface FromCoordinator {
  role(role: ConsoleRole): void;
  snapshot(snapshot: ConsoleSnapshot): void;
  events(events: ConsoleEvent[]): void;
  access(): void;
}
interface ToCoordinator {
  command(command: Command, reply: (answer: CommandReply) => void): void;
}

export type Link =
  | { state: 'signed-out'; refusal?: string }
  | { state: 'connecting'; sinceMs: number }
  | { state: 'live' }
  /** The page still shows the figures of `sinceMs`. */
  | { state: 'lost'; sinceMs: number };

/** The coordinator answers most commands at once, so a later answer won't come. */
const COMMAND_DEADLINE_MS = 5_000;
/** For what is read from a disk first, and waits for others of its kind. */
export const LOAD_DEADLINE_MS = 300_000;
/** Snapshots come once a second; after three missed ones the figures count as out of date. */
const STALE_AFTER_MS = 3_500;
const TOKEN_KEY = 'shoal-admin-token';

export const link = signal<Link>({ state: 'signed-out' });
/** Null until the coordinator has sent it. The page only hides commands from viewers; the coordinator refuses them. */
export const role = signal<ConsoleRole | null>(null);
export const snapshot = signal<ConsoleSnapshot | null>(null);
export const events = signal<ConsoleEvent[]>([]);
/** This browser's clock, updated once a second. */
export const nowMs = signal(performance.now());

/** Counts the times that the rules of access may have changed. */
export const accessChanges = signal(0);

let socket: Socket<FromCoordinator, ToCoordinator> | null = null;
let snapshotAtMs = 0;

setInterval(() => {
  nowMs.value = performance.now();
  if (link.value.state === 'live' && snapshot.value && nowMs.value - snapshotAtMs > STALE_AFTER_MS) {
    link.value = { state: 'lost', sinceMs: snapshotAtMs };
  }
}, 1_000);

/** Returns the session's token, or one from the address (`#token=…`), where it would be visible and kept in the history. */
export function findToken(): string | null {
  const match = /^#token=(.+)$/.exec(location.hash);
  if (match?.[1]) {
    history.replaceState(null, '', location.pathname + location.search);
    return decodeToken(match[1]);
  }
  return tabStorage.getItem(TOKEN_KEY);
}

/** For what is asked over HTTP; null while no admin is signed in. */
export function signedInToken(): string | null {
  return tabStorage.getItem(TOKEN_KEY);
}

function decodeToken(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function signIn(token: string): void {
  socket?.disconnect();
  link.value = { state: 'connecting', sinceMs: performance.now() };
  const [url, at] = socketAt(here, '/console');
  const made: Socket<FromCoordinator, ToCoordinator> = io(url, {
    ...at,
    auth: { token },
    forceNew: true,
    timeout: 10_000,
    reconnectionDelay: 500,
    reconnectionDelayMax: 5_000,
  });
  socket = made;
  made.on('connect', () => {
    tabStorage.setItem(TOKEN_KEY, token);
    accessChanges.value += 1;
    if (!snapshot.value) link.value = { state: 'live' };
  });
  made.on('connect_error', (error) => {
    // `active` is false only if the namespace itself refused, so a retry with the same token is useless.
    if (made.active) return;
    signOut(error.message || 'This token was not accepted.');
  });
  made.on('disconnect', (reason) => {
    if (reason === 'io client disconnect') return;
    link.value = { state: 'lost', sinceMs: snapshot.value ? snapshotAtMs : performance.now() };
    // socket.io does not retry by itself after the server has disconnected it.
    if (reason === 'io server disconnect') made.connect();
  });
  made.on('role', (next) => {
    role.value = next;
  });
  made.on('snapshot', (next) => {
    snapshotAtMs = performance.now();
    snapshot.value = next;
    link.value = { state: 'live' };
  });
  made.on('access', () => {
    accessChanges.value += 1;
  });
  made.on('events', (news) => {
    events.value = mergeEvents(events.value, news);
  });
}

export function signOut(refusal?: string): void {
  socket?.disconnect();
  socket = null;
  tabStorage.removeItem(TOKEN_KEY);
  role.value = null;
  snapshot.value = null;
  events.value = [];
  link.value = refusal === undefined ? { state: 'signed-out' } : { state: 'signed-out', refusal };
}

/** Sends a command; returns the reply or an error as text, and never throws. */
export async function command(message: Command, deadlineMs = COMMAND_DEADLINE_MS): Promise<CommandReply> {
  if (!socket?.connected) return { ok: false, message: 'Not connected to the coordinator.' };
  try {
    return await socket.timeout(deadlineMs).emitWithAck('command', message);
  } catch {
    return { ok: false, message: `The coordinator did not answer within ${deadlineMs / 1000} s.` };
  }
}

// The tab's title shows the state while the console is in the background.
effect(() => {
  const now = snapshot.value;
  if (link.value.state === 'lost') document.title = '○ Lost · Console · Shoal';
  else if (now) document.title = `${now.verdict.state === 'serving' ? '●' : '▲'} Console · Shoal`;
});
