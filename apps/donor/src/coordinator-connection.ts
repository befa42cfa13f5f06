import { connectDonor, EXPERT_KINDS } from '@shoal/peer';
import {
  adapterShardsSchema,
  assignSchema,
  type Challenge,
  challengeSchema,
  CONNECT_TIMEOUT_MS,
  dismissedSchema,
  guestSchema,
  helloReplySchema,
  HELLO_TIMEOUT_MS,
  keptName,
  MAX_COORDINATORS,
  MAX_KEPT_SHARDS,
  signalSchema,
  standingSchema,
  ROW_FORMATS,
  seekReplySchema,
  SUPPORTED_VERSIONS,
  tabLinkSchema,
  tabSignalSchema,
  type AdapterInfo,
  type AdapterShards,
  type Assign,
  type CoordinatorToDonor,
  type CoordinatorToTab,
  type Dismissed,
  type DonorToCoordinator,
  type Guest,
  type HelloReply,
  type Intent,
  type NoPath,
  PATH_TIMEOUT_MS,
  type RefusalCode,
  type Seek,
  type SeekReply,
  type Signal,
  type Standing,
  type TabPromise,
  type TabLink,
  type TabSignal,
  type TabToCoordinator,
} from '@shoal/protocol';
import { type CoordinatorUrl, socketAt } from '@shoal/protocol/page';
import { io, type Socket } from 'socket.io-client';
import type { Prove } from './contribution/browser-key.ts';
import { rtcIceServers } from './ice-servers.ts';

export type Welcome = Extract<HelloReply, { ok: true }>;

export type ConnectionEnd =
  /** The socket didn't open, was closed, or sent an invalid message. */
  | { kind: 'gone' }
  /** WebRTC found no way to the coordinator, whose addresses are these. */
  | { kind: 'no-channel'; facts: NoPath; addresses: readonly string[] }
  | { kind: 'refused'; code: RefusalCode; message: string }
  | { kind: 'dismissed'; dismissed: Dismissed };

export interface ConnectionHandlers {
  /** The lap channel is opened once this resolves. If it rejects, the handler has dealt with the failure. */
  onWelcome: (welcome: Welcome) => Promise<void>;
  /** Called in the task that made the channel, when it can still be transferred. Further channels join the first one's link. */
  onLapChannel: (channel: RTCDataChannel, isFurther: boolean) => void;
  onAssign: (assignment: Assign) => void;
  onAdapters: (message: AdapterShards) => void;
  onStanding: (standing: Standing) => void;
  /** A connection to another tab is to be opened or closed. */
  onTabLink: (link: TabLink) => void;
  onTabSignal: (signal: TabSignal) => void;
  /** Another coordinator wants a link to the tab, or no longer. */
  onGuest: (guest: Guest) => void;
  /** A signal of a guest. */
  onGuestSignal: (signal: Signal) => void;
  /** Called once, and never after `leave`. */
  onEnd: (end: ConnectionEnd) => void;
}

export interface Introduction {
  donorToken: string;
  /** Number of this tab among the donor's. */
  tab: number;
  inviteToken?: string;
  adapter: AdapterInfo;
  pledgeBytes: number;
  /** Whether the donor agrees to exchange shards with other tabs. */
  tabToTab: boolean;
  /** With the browser's own key; undefined if it has none. */
  prove?: Prove | undefined;
  /** SHA-256 of the shards in the browser's storage. */
  kept: () => Promise<string[]>;
  /** What the donor's limits allow when it says hello. */
  promise: () => TabPromise;
}

/** Time for the last message to be sent before the socket is closed. */
const LAST_WORDS_MS = 250;

/** The challenge comes right behind the socket's opening. Without it, the tab joins without a proof. */
const CHALLENGE_TIMEOUT_MS = 3_000;

const SEEK_TIMEOUT_MS = 5_000;

type ToCoordinator = DonorToCoordinator & TabToCoordinator;
type ToDonor = CoordinatorToDonor & CoordinatorToTab;
type DonorSocket = Socket<ToDonor, ToCoordinator>;
type LapConnection = ReturnType<typeof connectDonor>;

/** One connection to the coordinator, from the socket's opening to its end. Every attempt makes a new one. */
export class CoordinatorConnection {
  readonly #handlers: ConnectionHandlers;
  readonly #socket: DonorSocket;
  readonly #challenge: Promise<Challenge | undefined>;
  #lap: LapConnection | undefined;
  #channelTimer: ReturnType<typeof setTimeout> | undefined;
  #pathTimer: ReturnType<typeof setTimeout> | undefined;
  #channelOpened = false;
  #over = false;

  constructor(coordinator: CoordinatorUrl, introduction: Introduction, handlers: ConnectionHandlers) {
    this.#handlers = handlers;
    // No reconnection by socket.io, since the session decides when to retry. WebSocket first: unlike a long-polling request,
    // it still sends the last message while the page is being closed.
    const [url, at] = socketAt(coordinator, '/donor');
    this.#socket = io(url, {
      ...at,
      reconnection: false,
      forceNew: true,
      timeout: HELLO_TIMEOUT_MS,
      transports: ['websocket', 'polling'],
      tryAllTransports: true,
    });
    this.#challenge = new Promise((resolve) => {
      this.#socket.on('connect', () => setTimeout(resolve, CHALLENGE_TIMEOUT_MS));
      this.#listen('challenge', challengeSchema, resolve);
    });
    this.#socket.on('connect', () => void this.#introduce(introduction));
    this.#socket.on('connect_error', () => this.#end({ kind: 'gone' }));
    this.#socket.on('disconnect', () => this.#end({ kind: 'gone' }));
    this.#listen('assign', assignSchema, handlers.onAssign);
    this.#listen('adapters', adapterShardsSchema, handlers.onAdapters);
    this.#listen('standing', standingSchema, handlers.onStanding);
    this.#listen('signal', signalSchema, (signal) =>
      signal.guest ? handlers.onGuestSignal(signal) : this.#lap?.signal(signal),
    );
    this.#listen('guest', guestSchema, handlers.onGuest);
    this.#listen('tab-link', tabLinkSchema, handlers.onTabLink);
    this.#listen('tab-signal', tabSignalSchema, handlers.onTabSignal);
    this.#listen('dismissed', dismissedSchema, (dismissed) => this.#end({ kind: 'dismissed', dismissed }));
  }

  send<
    E extends
      'progress' | 'ready' | 'trouble' | 'adapted' | 'fetched' | 'signal' | 'guest-refused' | 'tab-signal' | 'promise',
  >(event: E, ...message: Parameters<ToCoordinator[E]>): void {
    this.#socket.emit(event, ...message);
  }

  /** Resolves to undefined if the coordinator does not answer. */
  async seek(message: Seek): Promise<SeekReply | undefined> {
    try {
      const answer: unknown = await this.#socket.timeout(SEEK_TIMEOUT_MS).emitWithAck('seek', message);
      return seekReplySchema.safeParse(answer).data;
    } catch {
      return undefined;
    }
  }

  intend(intent: Intent['intent']): void {
    this.#socket.emit('intent', { intent });
  }

  /** Says goodbye on both channels and closes, fast enough for a page that is being closed. */
  leave(): void {
    if (this.#over) return;
    this.intend('leave');
    this.#lap?.sendControl({ control: 'goodbye' });
    this.#close();
  }

  async #introduce({ kept, prove, promise, ...introduction }: Introduction): Promise<void> {
    try {
      // Without storage, nothing is kept.
      const names = await kept().catch(() => []);
      const challenge = prove && (await this.#challenge);
      const proof = challenge && (await prove('join', challenge.nonce).catch(() => undefined));
      if (this.#over) return;
      const answer: unknown = await this.#socket.timeout(HELLO_TIMEOUT_MS).emitWithAck('hello', {
        protocolVersions: [...SUPPORTED_VERSIONS],
        rowFormats: [...ROW_FORMATS],
        expertKinds: EXPERT_KINDS,
        maxCoordinators: MAX_COORDINATORS,
        ...(names.length > 0 && { kept: names.slice(-MAX_KEPT_SHARDS).map(keptName) }),
        promise: promise(),
        ...(proof && { proof }),
        ...introduction,
      });
      const reply = helloReplySchema.parse(answer);
      if (!reply.ok) return this.#end({ kind: 'refused', code: reply.code, message: reply.message });
      await this.#handlers.onWelcome(reply);
      if (!this.#over) this.#openLapChannel(reply);
    } catch {
      this.#end({ kind: 'gone' });
    }
  }

  #openLapChannel({ iceServers, lapConnections = 1 }: Welcome): void {
    this.#channelTimer = setTimeout(() => this.#noChannel(), CONNECT_TIMEOUT_MS);
    this.#pathTimer = setTimeout(() => !this.#lap?.path.isFound && this.#noChannel(), PATH_TIMEOUT_MS);
    this.#lap = connectDonor({
      iceServers: rtcIceServers(iceServers),
      lapConnections,
      onSignal: (signal) => this.#socket.emit('signal', signal),
      onLapChannel: (channel, isFurther) => this.#handlers.onLapChannel(channel, isFurther),
      // If the connection has worked, the coordinator is gone; if it never did, it was blocked.
      onEnd: () => (this.#channelOpened ? this.#end({ kind: 'gone' }) : this.#noChannel()),
    });
  }

  /** Call when the lap channel is open, which ends its deadline. */
  channelOpened(): void {
    this.#channelOpened = true;
    clearTimeout(this.#channelTimer);
    clearTimeout(this.#pathTimer);
  }

  /** Tells the coordinator's operator, too. */
  #noChannel(): void {
    if (this.#over || !this.#lap) return;
    const { path } = this.#lap;
    const facts = path.facts();
    this.#socket.emit('no-path', facts);
    this.#end({ kind: 'no-channel', facts, addresses: path.addresses });
  }

  #listen<T>(
    event: keyof ToDonor,
    schema: { safeParse: (message: unknown) => { success: true; data: T } | { success: false } },
    handle: (message: T) => void,
  ): void {
    (this.#socket as Socket).on(event, (message: unknown) => {
      if (this.#over) return;
      const parsed = schema.safeParse(message);
      if (parsed.success) handle(parsed.data);
      else this.#end({ kind: 'gone' });
    });
  }

  #end(end: ConnectionEnd): void {
    if (this.#over) return;
    this.#close();
    this.#handlers.onEnd(end);
  }

  #close(): void {
    this.#over = true;
    clearTimeout(this.#channelTimer);
    clearTimeout(this.#pathTimer);
    this.#lap?.close();
    // Delayed for the last message. If the page is closing, the browser closes the socket.
    setTimeout(() => this.#socket.disconnect(), LAST_WORDS_MS);
  }
}
