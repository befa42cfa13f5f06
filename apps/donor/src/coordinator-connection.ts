import { connectDonor } from '@shoal/peer';
import {
  assignSchema,
  CONNECT_TIMEOUT_MS,
  dismissedSchema,
  helloReplySchema,
  HELLO_TIMEOUT_MS,
  keptName,
  MAX_KEPT_SHARDS,
  signalSchema,
  standingSchema,
  ROW_FORMATS,
  SUPPORTED_VERSIONS,
  type AdapterInfo,
  type Assign,
  type CoordinatorToDonor,
  type Dismissed,
  type DonorToCoordinator,
  type HelloReply,
  type Intent,
  type Progress,
  type Ready,
  type RefusalCode,
  type Standing,
  type Trouble,
} from '@shoal/protocol';
import { io, type Socket } from 'socket.io-client';

export type Welcome = Extract<HelloReply, { ok: true }>;

export type ConnectionEnd =
  /** The socket didn't open, closed, or said what the protocol doesn't know. */
  | { kind: 'gone' }
  | { kind: 'no-channel' }
  | { kind: 'refused'; code: RefusalCode; message: string }
  | { kind: 'dismissed'; dismissed: Dismissed };

export interface ConnectionHandlers {
  /** The lap channel is opened once this resolves; if it rejects, whoever rejected deals with it. */
  onWelcome: (welcome: Welcome) => Promise<void>;
  /** In the task that made the channel, the only one in which it can be transferred. The first is the link; further ones add to it. */
  onLapChannel: (channel: RTCDataChannel, isFurther: boolean) => void;
  onAssign: (assignment: Assign) => void;
  onStanding: (standing: Standing) => void;
  /** Once, and never after `leave`. */
  onEnd: (end: ConnectionEnd) => void;
}

export interface Introduction {
  donorToken: string;
  /** Which of the donor's tabs this is. */
  tab: number;
  inviteToken?: string;
  adapter: AdapterInfo;
  pledgeBytes: number;
  /** SHA-256 of the shards in the browser's storage. */
  kept: () => Promise<string[]>;
}

/** For a message handed to the socket to leave before the socket is closed. */
const LAST_WORDS_MS = 250;

type DonorSocket = Socket<CoordinatorToDonor, DonorToCoordinator>;
type LapConnection = ReturnType<typeof connectDonor>;

/** One visit to the coordinator, from the socket's opening to its end. For another attempt make another. */
export class CoordinatorConnection {
  readonly #handlers: ConnectionHandlers;
  readonly #socket: DonorSocket;
  #lap: LapConnection | undefined;
  #channelTimer: ReturnType<typeof setTimeout> | undefined;
  #channelOpened = false;
  #over = false;

  constructor(introduction: Introduction, handlers: ConnectionHandlers) {
    this.#handlers = handlers;
    // When to come back is decided in one place, the session; socket.io would do so on its own.
    // WebSocket first: what is said to it as the page goes away still leaves, which a request of long polling does not.
    this.#socket = io('/donor', {
      reconnection: false,
      forceNew: true,
      timeout: HELLO_TIMEOUT_MS,
      transports: ['websocket', 'polling'],
      tryAllTransports: true,
    });
    this.#socket.on('connect', () => void this.#introduce(introduction));
    this.#socket.on('connect_error', () => this.#end({ kind: 'gone' }));
    this.#socket.on('disconnect', () => this.#end({ kind: 'gone' }));
    this.#listen('assign', assignSchema, handlers.onAssign);
    this.#listen('standing', standingSchema, handlers.onStanding);
    this.#listen('signal', signalSchema, (signal) => this.#lap?.signal(signal));
    this.#listen('dismissed', dismissedSchema, (dismissed) => this.#end({ kind: 'dismissed', dismissed }));
  }

  progress(message: Progress): void {
    this.#socket.emit('progress', message);
  }

  ready(message: Ready): void {
    this.#socket.emit('ready', message);
  }

  trouble(message: Trouble): void {
    this.#socket.emit('trouble', message);
  }

  intend(intent: Intent['intent']): void {
    this.#socket.emit('intent', { intent });
  }

  /** Says goodbye on both ways and closes; as quick as a page that is going away needs it. */
  leave(): void {
    if (this.#over) return;
    this.intend('leave');
    this.#lap?.sendControl({ control: 'goodbye' });
    this.#close();
  }

  async #introduce({ kept, ...introduction }: Introduction): Promise<void> {
    try {
      // Without storage there is nothing to tell.
      const names = await kept().catch(() => []);
      if (this.#over) return;
      const answer: unknown = await this.#socket.timeout(HELLO_TIMEOUT_MS).emitWithAck('hello', {
        protocolVersions: [...SUPPORTED_VERSIONS],
        rowFormats: [...ROW_FORMATS],
        ...(names.length > 0 && { kept: names.slice(-MAX_KEPT_SHARDS).map(keptName) }),
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
    this.#channelTimer = setTimeout(() => this.#end({ kind: 'no-channel' }), CONNECT_TIMEOUT_MS);
    this.#lap = connectDonor({
      iceServers: iceServers.map(({ urls, username, credential }) => ({
        urls,
        ...(username !== undefined && { username }),
        ...(credential !== undefined && { credential }),
      })),
      lapConnections,
      onSignal: (signal) => this.#socket.emit('signal', signal),
      onLapChannel: (channel, isFurther) => this.#handlers.onLapChannel(channel, isFurther),
      // A connection that has worked ends with its coordinator; one that never did was blocked.
      onEnd: () => this.#end({ kind: this.#channelOpened ? 'gone' : 'no-channel' }),
    });
  }

  /** The lap channel is open: its deadline is met. */
  channelOpened(): void {
    this.#channelOpened = true;
    clearTimeout(this.#channelTimer);
  }

  #listen<T>(
    event: keyof CoordinatorToDonor,
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
    this.#lap?.close();
    // The last words are still on their way out; a page that goes away closes the socket without us.
    setTimeout(() => this.#socket.disconnect(), LAST_WORDS_MS);
  }
}
