import {
  type Command,
  type CommandReply,
  commandSchema,
  type ConsoleEvent,
  type ConsoleSnapshot,
  type ConsoleRole,
  type PeerCommand,
} from '@shoal/protocol';
import { messageOf } from '@shoal/model';
import type { Namespace, Socket } from 'socket.io';
import type { Access } from '../access/access.ts';
import type { Admin } from '../access/policy.ts';
import { SignInGuard } from '../access/sign-in.ts';
import type { EventLog } from '../base/event-log.ts';
import type { Settings } from '../settings/index.ts';
import type { Swarm } from '../swarm/swarm.ts';
import type { ClusterConsole } from './cluster-console.ts';
import { type ConsoleAdapters, runAdapterCommand } from './adapters-view.ts';
import type { SnapshotBuilder } from './snapshot.ts';

export interface ConsoleGatewayOptions {
  access: Access;
  settings: Settings;
  snapshots: SnapshotBuilder;
  events: EventLog;
  swarm: Swarm;
  adapters: ConsoleAdapters;
  /** Undefined where there can be no other coordinators. */
  others?: ClusterConsole | undefined;
}

/** Serves the operator's console behind a token: snapshots once a second, events as they happen, and commands. */
export function serveConsole(namespace: Namespace, options: ConsoleGatewayOptions): { close(): void } {
  const { access, settings, events: log, snapshots, others } = options;
  const build = (): ConsoleSnapshot => others?.merge(snapshots.build()) ?? snapshots.build();
  const named = (event: ConsoleEvent): ConsoleEvent => others?.named(event) ?? event;
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
    socket.emit('events', log.all().map(named));
    socket.emit('snapshot', build());
    others?.opened(signedIn.size);
    socket.on('command', (message: unknown, reply: unknown) => {
      const admin = signedIn.get(socket);
      const answer = admin ? runCommand(message, options, socket, admin) : Promise.resolve(SIGNED_OUT);
      const failed = (error: unknown): CommandReply => ({
        ok: false,
        message: `The command failed: ${messageOf(error)}`,
      });
      void answer.catch(failed).then((settled) => typeof reply === 'function' && reply(settled));
    });
    socket.once('disconnect', () => {
      signedIn.delete(socket);
      others?.opened(signedIn.size);
    });
  });
  const onChange = (): void => recheck(signedIn, access);
  // The console reads it under /admin. Each coordinator tells its own consoles.
  const onView = (): unknown => namespace.emit('access');
  const onSettings = (): unknown => namespace.emit('settings');
  const onEvent = (event: ConsoleEvent): unknown => namespace.emit('events', [named(event)]);
  access.events.on('change', onChange).on('view', onView);
  settings.on('view', onSettings);
  log.events.on('added', onEvent);
  const timer = setInterval(() => {
    snapshots.tick();
    const isOpen = namespace.sockets.size > 0;
    if (!isOpen && others?.isWatched !== true) return;
    const own = snapshots.build();
    if (others?.isWatched) others.send(own);
    if (isOpen) namespace.emit('snapshot', others?.merge(own) ?? own);
  }, 1000);
  timer.unref();
  others?.onCommand((command, who) => runHere(command, options, who));
  return {
    close() {
      others?.close();
      clearInterval(timer);
      access.events.off('change', onChange).off('view', onView);
      settings.off('view', onSettings);
      log.events.off('added', onEvent);
    },
  };
}

/** The page waits for 5 s, and for adapters for 300 s. */
const TAB_REPLY_MS = 3_000;
const ADAPTER_REPLY_MS = 290_000;

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
  const { access } = options;
  const parsed = commandSchema.safeParse(message);
  if (!parsed.success) return { ok: false, message: UNKNOWN };
  const asked = parsed.data;
  if (admin.role !== 'operator') {
    return { ok: false, message: `${admin.name} is a viewer; only an operator can ${DOES[asked.command]}.` };
  }
  const who = `The operator (${admin.name}, ${access.addressOfSocket(socket)})`;
  const here = await runHere(asked, options, who);
  return options.others === undefined
    ? here
    : withOthers(asked, here, await askOthers(asked, here, options.others, who));
}

/** A tab has one home; adapters are the same at all. */
async function askOthers(
  asked: Command,
  here: CommandReply,
  others: ClusterConsole,
  who: string,
): Promise<Map<string, CommandReply>> {
  if ('peerId' in asked) return here.ok ? new Map() : others.ask(asked, who, TAB_REPLY_MS);
  return others.ask(asked, who, ADAPTER_REPLY_MS);
}

function withOthers(asked: Command, here: CommandReply, replies: Map<string, CommandReply>): CommandReply {
  const all = [...replies.values()];
  if ('peerId' in asked) return all.find(({ ok }) => ok) ?? here;
  const failed = [...replies].flatMap(([name, reply]) => (reply.ok ? [] : [`${name}: ${reply.message}`]));
  if (!here.ok || failed.length === 0) return here;
  return { ok: false, message: `Done here, but not at all coordinators. ${failed.join(' ')}` };
}

/** Runs a command for a console of this or of another coordinator. */
async function runHere(asked: Command, options: ConsoleGatewayOptions, who: string): Promise<CommandReply> {
  if ('peerId' in asked) return commandPeer(asked, options, who);
  const text = `${who} asked to ${DOES[asked.command]}, ${asked.name}`;
  options.events.add({ level: 'info', kind: 'server', text });
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
