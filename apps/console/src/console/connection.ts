import { effect, signal } from '@preact/signals';
import type { Command, CommandReply, ConsoleEvent, ConsoleRole, ConsoleSnapshot } from '@shoal/protocol';
import { io, type Socket } from 'socket.io-client';
import { mergeEvents } from './event-log.ts';

interface FromCoordinator {
  role(role: ConsoleRole): void;
  snapshot(snapshot: ConsoleSnapshot): void;
  events(events: ConsoleEvent[]): void;
}
interface ToCoordinator {
  command(command: Command, reply: (answer: CommandReply) => void): void;
}

export type Link =
  | { state: 'signed-out'; refusal?: string }
  | { state: 'connecting'; sinceMs: number }
  | { state: 'live' }
  /** Figures on the page are those of `sinceMs`. */
  | { state: 'lost'; sinceMs: number };

/** A command goes to the coordinator's own memory: an answer later than this is no answer. */
const COMMAND_DEADLINE_MS = 5_000;
/** Snapshots come once a second; after three missed ones the figures are called old. */
const STALE_AFTER_MS = 3_500;
const TOKEN_KEY = 'shoal-admin-token';

export const link = signal<Link>({ state: 'signed-out' });
/** Null before the coordinator has said. It refuses a viewer's commands in any case; the page only does not offer them. */
export const role = signal<ConsoleRole | null>(null);
export const snapshot = signal<ConsoleSnapshot | null>(null);
export const events = signal<ConsoleEvent[]>([]);
/** This browser's clock, once a second. */
export const nowMs = signal(Date.now());

let socket: Socket<FromCoordinator, ToCoordinator> | null = null;
let snapshotAtMs = 0;

setInterval(() => {
  nowMs.value = Date.now();
  if (link.value.state === 'live' && snapshot.value && nowMs.value - snapshotAtMs > STALE_AFTER_MS) {
    link.value = { state: 'lost', sinceMs: snapshotAtMs };
  }
}, 1_000);

/** Takes a token out of the address bar (`#token=…`), where it would be seen and kept in the history; else the session's. */
export function findToken(): string | null {
  const match = /^#token=(.+)$/.exec(location.hash);
  if (match?.[1]) {
    history.replaceState(null, '', location.pathname + location.search);
    return decodeToken(match[1]);
  }
  return sessionStorage.getItem(TOKEN_KEY);
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
  link.value = { state: 'connecting', sinceMs: Date.now() };
  const made: Socket<FromCoordinator, ToCoordinator> = io('/console', {
    auth: { token },
    forceNew: true,
    timeout: 10_000,
    reconnectionDelay: 500,
    reconnectionDelayMax: 5_000,
  });
  socket = made;
  made.on('connect', () => {
    sessionStorage.setItem(TOKEN_KEY, token);
    if (!snapshot.value) link.value = { state: 'live' };
  });
  made.on('connect_error', (error) => {
    // `active` is false only when the namespace itself said no: then trying again with the same token is no use.
    if (made.active) return;
    signOut(error.message || 'This token was not accepted.');
  });
  made.on('disconnect', (reason) => {
    if (reason === 'io client disconnect') return;
    link.value = { state: 'lost', sinceMs: snapshot.value ? snapshotAtMs : Date.now() };
    // The coordinator closing the connection on its side stops socket.io's own retries.
    if (reason === 'io server disconnect') made.connect();
  });
  made.on('role', (next) => {
    role.value = next;
  });
  made.on('snapshot', (next) => {
    snapshotAtMs = Date.now();
    snapshot.value = next;
    link.value = { state: 'live' };
  });
  made.on('events', (news) => {
    events.value = mergeEvents(events.value, news);
  });
}

export function signOut(refusal?: string): void {
  socket?.disconnect();
  socket = null;
  sessionStorage.removeItem(TOKEN_KEY);
  role.value = null;
  snapshot.value = null;
  events.value = [];
  link.value = refusal === undefined ? { state: 'signed-out' } : { state: 'signed-out', refusal };
}

/** Sends a command and says in words what came of it; never throws. */
export async function command(message: Command): Promise<CommandReply> {
  if (!socket?.connected) return { ok: false, message: 'Not connected to the coordinator.' };
  try {
    return await socket.timeout(COMMAND_DEADLINE_MS).emitWithAck('command', message);
  } catch {
    return { ok: false, message: `The coordinator did not answer within ${COMMAND_DEADLINE_MS / 1000} s.` };
  }
}

// The tab's title tells how things stand when the console is in the background.
effect(() => {
  const now = snapshot.value;
  if (link.value.state === 'lost') document.title = '○ Lost · Console · Shoal';
  else if (now) document.title = `${now.verdict.state === 'serving' ? '●' : '▲'} Console · Shoal`;
});
