import { type CommandReply, commandSchema, type ConsoleRole } from '@shoal/protocol';
import type { Namespace, Socket } from 'socket.io';
import type { Access } from '../access/access.ts';
import type { Admin } from '../access/access-file.ts';
import { SignInGuard } from '../access/sign-in.ts';
import type { EventLog } from '../base/event-log.ts';
import type { Swarm } from '../swarm/swarm.ts';
import type { SnapshotBuilder } from './snapshot.ts';

export { UNAUTHORIZED } from '../access/sign-in.ts';

export interface ConsoleGatewayOptions {
  access: Access;
  snapshots: SnapshotBuilder;
  events: EventLog;
  swarm: Swarm;
}

/** The operator's live view: snapshots once a second, events as they come, commands back; all behind a token. */
export function serveConsole(namespace: Namespace, options: ConsoleGatewayOptions): { close(): void } {
  const { access, events, snapshots } = options;
  const guard = new SignInGuard(access);
  const signedIn = new Map<Socket, Admin>();
  namespace.use((socket, next) => {
    const outcome = guard.signIn(access.addressOfSocket(socket), socket.handshake.auth.token);
    if (!outcome.ok) return next(new Error(outcome.message));
    signedIn.set(socket, outcome.admin);
    next();
  });
  namespace.on('connection', (socket) => {
    socket.emit('role', roleOf(signedIn.get(socket)!));
    socket.emit('events', events.all());
    socket.emit('snapshot', snapshots.build());
    socket.on('command', (message: unknown, reply: unknown) => {
      const admin = signedIn.get(socket);
      const answer = admin ? runCommand(message, options, socket, admin) : SIGNED_OUT;
      if (typeof reply === 'function') reply(answer);
    });
    socket.once('disconnect', () => signedIn.delete(socket));
  });
  const stopAccess = access.onChange(() => recheck(signedIn, access));
  const stopEvents = events.listen((event) => namespace.emit('events', [event]));
  const timer = setInterval(() => {
    snapshots.tick();
    if (namespace.sockets.size > 0) namespace.emit('snapshot', snapshots.build());
  }, 1000);
  timer.unref();
  return {
    close() {
      clearInterval(timer);
      stopAccess();
      stopEvents();
    },
  };
}

const SIGNED_OUT: CommandReply = { ok: false, message: 'You are signed out.' };

/** The rules have changed: consoles learn their new role, or are closed. */
function recheck(signedIn: Map<Socket, Admin>, access: Access): void {
  for (const [socket, before] of signedIn) {
    const admin = access.adminNow(before);
    if (!admin) {
      signedIn.delete(socket);
      socket.disconnect(true);
    } else if (admin !== before) {
      signedIn.set(socket, admin);
      socket.emit('role', roleOf(admin));
    }
  }
}

function roleOf({ name, role }: Admin): ConsoleRole {
  return { name, role };
}

function runCommand(message: unknown, options: ConsoleGatewayOptions, socket: Socket, admin: Admin): CommandReply {
  const { access, swarm, events } = options;
  const parsed = commandSchema.safeParse(message);
  if (!parsed.success) return { ok: false, message: 'The console sent a command that this coordinator does not know.' };
  const { command, peerId } = parsed.data;
  if (admin.role !== 'operator') return { ok: false, message: `${admin.name} may look, but not ${command} a tab.` };
  const peer = swarm.peers.find((candidate) => candidate.peerId === peerId);
  if (!peer) return { ok: false, message: `${peerId} is not in the swarm any more.` };
  const who = `The operator (${admin.name}, ${access.addressOfSocket(socket)})`;
  events.add({ level: 'info', kind: 'server', text: `${who} asked to ${command} ${peerId}`, peerId });
  if (command === 'drain') {
    swarm.drain(peer, { code: 'removed', message: 'The operator has ended your visit. Thank you.', retry: false });
  } else {
    swarm.dismiss(peer, { code: 'removed', message: 'The operator has removed this tab.', retry: false });
  }
  return { ok: true };
}
