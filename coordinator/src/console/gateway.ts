import {
  type Command,
  type CommandReply,
  commandSchema,
  type ConsoleEvent,
  type ConsoleRole,
  type PeerCommand,
} from '@shoal/protocol';
import { messageOf } from '@shoal/model';
import type { Namespace, Socket } from 'socket.io';
import type { Access } from '../access/access.ts';
import type { Admin } from '../access/policy.ts';
import { SignInGuard } from '../access/sign-in.ts';
import type { EventLog } from '../base/event-log.ts';
import type { Swarm } from '../swarm/swarm.ts';
import { type ConsoleAdapters, runAdapterCommand } from './adapters-view.ts';
import type { SnapshotBuilder } from './snapshot.ts';

export interface ConsoleGatewayOptions {
  access: Access;
  snapshots: SnapshotBuilder;
  events: EventLog;
  swarm: Swarm;
  adapters: ConsoleAdapters;
}

/** Serves the operator's console behind a token: snapshots once a second, events as they happen, and commands. */
export function serveConsole(namespace: Namespace, options: ConsoleGatewayOptions): { close(): void } {
  const { access, events: log, snapshots } = options;
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
    socket.emit('events', log.all());
    socket.emit('snapshot', snapshots.build());
    socket.on('command', (message: unknown, reply: unknown) => {
      const admin = signedIn.get(socket);
      const answer = admin ? runCommand(message, options, socket, admin) : Promise.resolve(SIGNED_OUT);
      const failed = (error: unknown): CommandReply => ({
        ok: false,
        message: `The command failed: ${messageOf(error)}`,
      });
      void answer.catch(failed).then((settled) => typeof reply === 'function' && reply(settled));
    });
    socket.once('disconnect', () => signedIn.delete(socket));
  });
  const onChange = (): void => recheck(signedIn, access);
  // The console reads it under /admin. Each coordinator tells its own consoles.
  const onView = (): unknown => namespace.local.emit('access');
  const onEvent = (event: ConsoleEvent): unknown => namespace.emit('events', [event]);
  access.events.on('change', onChange).on('view', onView);
  log.events.on('added', onEvent);
  const timer = setInterval(() => {
    snapshots.tick();
    if (namespace.sockets.size > 0) namespace.emit('snapshot', snapshots.build());
  }, 1000);
  timer.unref();
  return {
    close() {
      clearInterval(timer);
      access.events.off('change', onChange).off('view', onView);
      log.events.off('added', onEvent);
    },
  };
}

const UNKNOWN = 'The console sent a command that this coordinator does not know. Reload the page.';
const SIGNED_OUT: CommandReply = { ok: false, message: 'You are signed out.' };

/** Applies new access rules: consoles are told their new role, or are disconnected. */
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

const DOES: Readonly<Record<Command['command'], string>> = {
  drain: 'drain a tab',
  remove: 'remove a tab',
  'load-adapter': 'load an adapter',
  'unload-adapter': 'unload an adapter',
};

async function runCommand(
  message: unknown,
  options: ConsoleGatewayOptions,
  socket: Socket,
  admin: Admin,
): Promise<CommandReply> {
  const { access, events } = options;
  const parsed = commandSchema.safeParse(message);
  if (!parsed.success) return { ok: false, message: UNKNOWN };
  const asked = parsed.data;
  if (admin.role !== 'operator') {
    return { ok: false, message: `${admin.name} is a viewer; only an operator can ${DOES[asked.command]}.` };
  }
  const who = `The operator (${admin.name}, ${access.addressOfSocket(socket)})`;
  if ('peerId' in asked) return commandPeer(asked, options, who);
  events.add({ level: 'info', kind: 'server', text: `${who} asked to ${DOES[asked.command]}, ${asked.name}` });
  return runAdapterCommand(asked, options.adapters);
}

function commandPeer(
  { command, peerId }: PeerCommand,
  { swarm, events }: ConsoleGatewayOptions,
  who: string,
): CommandReply {
  const peer = swarm.peers.find((candidate) => candidate.peerId === peerId);
  if (!peer) return { ok: false, message: `${peerId} is no longer in the swarm.` };
  events.add({ level: 'info', kind: 'server', text: `${who} asked to ${command} ${peerId}`, peerId });
  if (command === 'drain') {
    swarm.drain(peer, { code: 'removed', message: 'The operator has ended your visit. Thank you.', retry: false });
  } else {
    swarm.dismiss(peer, { code: 'removed', message: 'The operator has removed this tab.', retry: false });
  }
  return { ok: true };
}
