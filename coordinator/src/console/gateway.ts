import { createHash, timingSafeEqual } from 'node:crypto';
import { type CommandReply, commandSchema } from '@shoal/protocol';
import type { Namespace, Socket } from 'socket.io';
import type { EventLog } from '../swarm/event-log.ts';
import type { Swarm } from '../swarm/swarm.ts';
import type { SnapshotBuilder } from './snapshot.ts';

export interface ConsoleGatewayOptions {
  adminToken: string;
  snapshots: SnapshotBuilder;
  events: EventLog;
  swarm: Swarm;
}

/** Shown at the console's sign-in as it is. */
export const UNAUTHORIZED = 'That is not the admin token. The coordinator printed it when it started.';

/** The operator's live view: snapshots once a second, events as they come, commands back; all behind the admin token. */
export function serveConsole(namespace: Namespace, options: ConsoleGatewayOptions): { close(): void } {
  namespace.use((socket, next) => {
    const given: unknown = socket.handshake.auth.token;
    if (typeof given === 'string' && sameSecret(given, options.adminToken)) next();
    else next(new Error(UNAUTHORIZED));
  });
  namespace.on('connection', (socket) => {
    socket.emit('events', options.events.all());
    socket.emit('snapshot', options.snapshots.build());
    socket.on('command', (message: unknown, reply: unknown) => {
      const answer = runCommand(message, options, socket);
      if (typeof reply === 'function') reply(answer);
    });
  });
  const stopEvents = options.events.listen((event) => namespace.emit('events', [event]));
  const timer = setInterval(() => {
    options.snapshots.tick();
    if (namespace.sockets.size > 0) namespace.emit('snapshot', options.snapshots.build());
  }, 1000);
  timer.unref();
  return {
    close() {
      clearInterval(timer);
      stopEvents();
    },
  };
}

function runCommand(message: unknown, { swarm, events }: ConsoleGatewayOptions, socket: Socket): CommandReply {
  const parsed = commandSchema.safeParse(message);
  if (!parsed.success) return { ok: false, message: 'The console sent a command that this coordinator does not know.' };
  const { command, peerId } = parsed.data;
  const peer = swarm.peers.find((candidate) => candidate.peerId === peerId);
  if (!peer) return { ok: false, message: `${peerId} is not in the swarm any more.` };
  const text = `The operator (${socket.handshake.address}) asked to ${command} ${peerId}`;
  events.add({ level: 'info', kind: 'server', text, peerId });
  if (command === 'drain') {
    swarm.drain(peer, { code: 'removed', message: 'The operator has ended your visit. Thank you.', retry: false });
  } else {
    swarm.dismiss(peer, { code: 'removed', message: 'The operator has removed this tab.', retry: false });
  }
  return { ok: true };
}

/** Compares digests, so that neither content nor length shows in the time taken. */
function sameSecret(a: string, b: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}
