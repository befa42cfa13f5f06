import { monitorEventLoopDelay } from 'node:perf_hooks';
import { messageOf } from '@shoal/model';
import {
  type AttentionItem,
  type Command,
  type CommandReply,
  type ConsoleEvent,
  type ConsoleSnapshot,
  type CoordinatorView,
  ranked,
} from '@shoal/protocol';
import { z } from 'zod';
import { steadyUnixMs } from '../base/clock.ts';
import type { EventLog } from '../base/event-log.ts';
import type { BusMessages } from '../cluster/bus-messages.ts';
import { ALL, type Cluster, type MemberView } from '../cluster/cluster.ts';
import { ToldMap } from '../cluster/told-map.ts';
import { mergeSnapshots, type NamedSnapshot } from './merge-snapshots.ts';

/** A member whose snapshot is older is silent. */
const SILENT_AFTER_MS = 5_000;
/** Time of the event loop's figures. */
const EVENT_LOOP_MS = 10_000;
const RESOLUTION_MS = 10;

type Figures = BusMessages['snapshot']['figures'];

interface Heard extends Omit<BusMessages['snapshot'], 'snapshot'> {
  snapshot: ConsoleSnapshot;
  atMs: number;
}

interface Asked {
  isForOne: boolean;
  replies: Map<string, CommandReply>;
  settle: () => void;
}

export interface ClusterConsoleOptions {
  cluster: Cluster;
  events: EventLog;
  version: string;
  /** Links to tabs whose home is another member. */
  guestLinks: () => number;
}

/** What a console shows and commands of the other coordinators. Snapshots are sent only where a console is open. */
export class ClusterConsole {
  readonly #options: ClusterConsoleOptions;
  readonly #cluster: Cluster;
  /** Consoles that are open, by `open`. */
  readonly #consoles: ToldMap<number>;
  readonly #heard = new Map<string, Heard>();
  readonly #asked = new Map<number, Asked>();
  readonly #stops: (() => void)[] = [];
  readonly #eventLoop = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  #eventLoopP99Ms = 0;
  #nextCommand = 1;

  constructor(options: ClusterConsoleOptions) {
    this.#options = options;
    const { cluster, events } = options;
    this.#cluster = cluster;
    const { bus, members } = cluster;
    this.#consoles = new ToldMap(cluster, 'consoles', z.number().int().min(0));
    const onEvent = (event: ConsoleEvent): void => {
      if (event.coordinator === undefined) bus.send(ALL, 'event', this.named(event));
    };
    const onLeft = ({ id }: MemberView): unknown => this.#heard.delete(id);
    events.events.on('added', onEvent);
    members.events.on('left', onLeft);
    this.#eventLoop.enable();
    const timer = setInterval(() => this.#measure(), EVENT_LOOP_MS).unref();
    this.#stops.push(
      bus.on('event', (_, { peerId, ...event }) => events.hear({ ...event, ...(peerId !== undefined && { peerId }) })),
      bus.on('snapshot', (from, message) => {
        const snapshot = message.snapshot as unknown as ConsoleSnapshot;
        this.#heard.set(from, { ...message, snapshot, atMs: performance.now() });
      }),
      bus.on('reply', (from, { id, ok, message = '' }) => {
        const asked = this.#asked.get(id);
        asked?.replies.set(from, ok ? { ok } : { ok, message });
        // One of them has the tab.
        if (asked && ((ok && asked.isForOne) || asked.replies.size >= members.alive().length - 1)) asked.settle();
      }),
      () => events.events.off('added', onEvent),
      () => members.events.off('left', onLeft),
      () => clearInterval(timer),
      () => this.#eventLoop.disable(),
      () => this.#consoles.close(),
    );
  }

  get #hasOthers(): boolean {
    return this.#cluster.members.alive().length > 1;
  }

  /** An event as all show it: with the name of its coordinator. */
  named(event: ConsoleEvent): ConsoleEvent & { coordinator: string } {
    return { coordinator: this.#cluster.members.self.name, ...event };
  }

  /** How many consoles are open here. */
  opened(consoles: number): void {
    this.#consoles.set('open', consoles === 0 ? undefined : consoles);
  }

  /** Whether any member has a console open that this one's figures are for. */
  get isWatched(): boolean {
    return this.#hasOthers && !this.#consoles.of('open')[Symbol.iterator]().next().done;
  }

  /** Sends the own snapshot to where a console is open. */
  send(snapshot: ConsoleSnapshot): void {
    const { bus, members } = this.#cluster;
    const message = {
      version: this.#options.version,
      snapshot: { ...snapshot },
      figures: this.#figures(snapshot),
      isCut: members.isCut,
    };
    for (const [id, consoles] of this.#consoles.others()) if (consoles.has('open')) bus.send(id, 'snapshot', message);
  }

  /** The own snapshot with all that is known of the others. */
  merge(own: ConsoleSnapshot): ConsoleSnapshot {
    const { members } = this.#cluster;
    if (!this.#hasOthers) return own;
    const named: [NamedSnapshot, ...NamedSnapshot[]] = [{ name: members.self.name, snapshot: own }];
    for (const { id, name } of members.alive()) {
      const heard = this.#freshOf(id);
      if (heard && heard.version === this.#options.version) named.push({ name, snapshot: heard.snapshot });
    }
    const merged = mergeSnapshots(named);
    const coordinators = members.alive().map((member) => this.#view(member, own));
    const silent = coordinators.find(({ state }) => state === 'silent' || state === 'cut');
    return { ...merged, coordinators, attention: silent ? ranked([...own.attention, quiet(silent)]) : own.attention };
  }

  /** Asks the others, and resolves to their answers by name: of those that answered in time. */
  async ask(command: Command, who: string, withinMs: number): Promise<Map<string, CommandReply>> {
    const { bus, members } = this.#cluster;
    const id = this.#nextCommand++;
    const replies = new Map<string, CommandReply>();
    if (!this.#hasOthers) return replies;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((settle) => {
      this.#asked.set(id, { isForOne: 'peerId' in command, replies, settle });
      timer = setTimeout(settle, withinMs);
      bus.send(ALL, 'command', { id, who, command });
    });
    clearTimeout(timer);
    this.#asked.delete(id);
    const nameOf = (member: string): string => members.alive().find((one) => one.id === member)?.name ?? member;
    return new Map([...replies].map(([member, reply]) => [nameOf(member), reply]));
  }

  /** Answers commands of the others' consoles. */
  onCommand(run: (command: Command, who: string) => Promise<CommandReply>): void {
    const { bus, members } = this.#cluster;
    const stop = bus.on('command', (from, { id, who, command }) => {
      const at = members.alive().find((member) => member.id === from)?.name ?? from;
      const failed = (error: unknown): CommandReply => ({ ok: false, message: messageOf(error) });
      void run(command, `${who} at ${at}`)
        .catch(failed)
        .then((reply) => bus.send(from, 'reply', { id, ...reply }));
    });
    this.#stops.push(stop);
  }

  close(): void {
    for (const stop of this.#stops) stop();
  }

  #freshOf(id: string): Heard | undefined {
    const heard = this.#heard.get(id);
    return heard && performance.now() - heard.atMs < SILENT_AFTER_MS ? heard : undefined;
  }

  #view({ id, name, version, sinceMs }: MemberView, own: ConsoleSnapshot): CoordinatorView {
    const { members, lease } = this.#cluster;
    const isSelf = id === members.self.id;
    const heard = this.#freshOf(id);
    const isCut = isSelf ? members.isCut : (heard?.isCut ?? false);
    const state = isSelf ? own.verdict.state : (heard?.snapshot.verdict.state ?? 'silent');
    return {
      id,
      name,
      isSelf,
      isLeader: id === lease.leader,
      state: isCut ? 'cut' : state,
      figures: isSelf ? this.#figures(own) : (heard?.figures ?? null),
      version,
      upMs: Math.max(0, steadyUnixMs() - sinceMs),
    };
  }

  #figures({ flow, peers, requests }: ConsoleSnapshot): Figures {
    return {
      tokensPerSecond: flow.tokensPerSecond,
      requests: requests.length,
      tabs: peers.length,
      guestLinks: this.#options.guestLinks(),
      eventLoopP99Ms: this.#eventLoopP99Ms,
    };
  }

  #measure(): void {
    // What it records is the time between two timers.
    const p99Ms = this.#eventLoop.percentile(99) / 1e6 - RESOLUTION_MS;
    this.#eventLoop.reset();
    this.#eventLoopP99Ms = Math.max(0, Math.round(p99Ms * 10) / 10);
  }
}

/** A coordinator from which nothing is heard says nothing of itself, so those that miss it do. */
function quiet({ name, state }: CoordinatorView): AttentionItem {
  return {
    key: `coordinator-quiet ${name}`,
    severity: 'warning',
    text: `${name} ${state === 'cut' ? 'cannot reach the database' : 'sends no figures'}`,
    remedy: 'It answers on its own meanwhile. See its log, and whether it reaches the database.',
    href: '#coordinators',
    sinceMs: steadyUnixMs(),
    coordinator: name,
  };
}
