import {
  combineLayout,
  HELLO_TIMEOUT_MS,
  type Hello,
  type HelloReply,
  helloSchema,
  intentSchema,
  MAX_ROWS_PER_LAP,
  MAX_SIGNALLING_MESSAGES_PER_SECOND,
  negotiateVersion,
  progressSchema,
  readySchema,
  SIGNALLING_BURST_MESSAGES,
  type Signal,
  signalSchema,
  SUPPORTED_VERSIONS,
  troubleSchema,
} from '@shoal/protocol';
import { TransportError } from '@shoal/transport';
import { type AcceptedPeer, acceptPeer, type RtcImplementation } from '@shoal/transport/node';
import type { Logger } from 'pino';
import type { Namespace, Socket } from 'socket.io';
import type { z } from 'zod';
import { HelloRefused, type Swarm } from './swarm.ts';
import type { PeerSession } from './peer-session.ts';

export interface DonorGatewayOptions {
  swarm: Swarm;
  rtc: RtcImplementation;
  iceServers: RTCIceServer[];
  heartbeatMs: number;
  model: Extract<HelloReply, { ok: true }>['model'];
  log: Logger;
}

/** For a message handed to the socket to leave before the socket is closed. */
const LAST_WORDS_MS = 200;

/** The donors' side of signalling: socket.io messages in and out, each parsed once, with a deadline for the first. */
export function serveDonors(namespace: Namespace, options: DonorGatewayOptions): void {
  namespace.on('connection', (socket) => new DonorSocket(socket, options));
}

class DonorSocket {
  readonly #socket: Socket;
  readonly #options: DonorGatewayOptions;
  readonly #helloTimer: NodeJS.Timeout;
  #peer: PeerSession | undefined;
  #connection: AcceptedPeer | undefined;
  /** What comes after that is not read. */
  #over = false;
  #allowance = SIGNALLING_BURST_MESSAGES;
  #allowedAtMs = Date.now();

  constructor(socket: Socket, options: DonorGatewayOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#helloTimer = setTimeout(() => socket.disconnect(true), HELLO_TIMEOUT_MS);
    socket.use((_, next) => {
      if (this.#over) return;
      if (this.#spend()) next();
      else this.#drop('more messages than the protocol allows');
    });
    socket.on('hello', (message: unknown, reply: unknown) => this.#hello(message, reply));
    this.#on('signal', signalSchema, (_, signal) => this.#connection?.signal(signal));
    this.#on('progress', progressSchema, (peer, message) => options.swarm.progress(peer, message));
    this.#on('ready', readySchema, (peer, message) => void options.swarm.ready(peer, message));
    this.#on('trouble', troubleSchema, (peer, message) => options.swarm.trouble(peer, message));
    this.#on('intent', intentSchema, (peer, message) => options.swarm.intent(peer, message));
    socket.on('disconnect', () => this.#end('vanished'));
  }

  #on<T>(event: string, schema: z.ZodType<T>, handle: (peer: PeerSession, message: T) => void): void {
    this.#socket.on(event, (message: unknown) => {
      const parsed = schema.safeParse(message);
      if (!parsed.success) return this.#drop(`a malformed "${event}" message`);
      if (this.#peer && this.#peer.state !== 'gone') handle(this.#peer, parsed.data);
    });
  }

  #hello(message: unknown, reply: unknown): void {
    if (typeof reply !== 'function' || this.#peer) return this.#drop('hello without a reply, or twice');
    const parsed = helloSchema.safeParse(message);
    if (!parsed.success) {
      reply(refusal('invalid', `The hello is malformed: ${parsed.error.issues[0]?.path.join('.')}. Reload the page.`));
      return this.#drop('a malformed hello');
    }
    clearTimeout(this.#helloTimer);
    reply(this.#admit(parsed.data));
    if (this.#peer) this.#connect(this.#peer);
    else this.#closeSoon();
  }

  #admit(hello: Hello): HelloReply {
    const version = negotiateVersion(hello.protocolVersions);
    if (version === undefined) {
      const ours = SUPPORTED_VERSIONS.join(', ');
      return refusal(
        'version',
        `The page speaks version ${hello.protocolVersions.join(', ')}, this coordinator ${ours}. Reload the page.`,
      );
    }
    const socket = this.#socket;
    try {
      this.#peer = this.#options.swarm.join(hello, addressOf(socket), {
        assign: (assignment) => void socket.emit('assign', assignment),
        standing: (standing) => void socket.emit('standing', standing),
        dismiss: (farewell) => {
          socket.emit('dismissed', farewell);
          this.#closeSoon();
        },
      });
    } catch (error) {
      if (!(error instanceof HelloRefused)) throw error;
      return refusal(error.code, error.message);
    }
    const { iceServers, heartbeatMs, model } = this.#options;
    return {
      ok: true,
      protocolVersion: version,
      peerId: this.#peer.peerId,
      model,
      iceServers: iceServers as Extract<HelloReply, { ok: true }>['iceServers'],
      heartbeatMs,
    };
  }

  #connect(peer: PeerSession): void {
    const { swarm } = this.#options;
    try {
      this.#connection = this.#accept();
    } catch (error) {
      // WebRTC itself refused: ICE servers that it cannot read, or no memory. The other donors have nothing to do with it.
      this.#options.log.error({ err: error, peerId: peer.peerId }, 'no WebRTC connection could be made');
      const message = 'The coordinator could not open a WebRTC connection. Its operator finds the cause in its log.';
      return swarm.dismiss(peer, { code: 'timeout', message, retry: true });
    }
    this.#connection.link.then(
      (link) => swarm.attach(peer, link),
      (error: unknown) => {
        if (!(error instanceof TransportError)) throw error;
        const message = `No WebRTC connection came about (${error.message}). A firewall may block it.`;
        swarm.dismiss(peer, { code: 'timeout', message, retry: true });
      },
    );
  }

  #accept(): AcceptedPeer {
    const { rtc, iceServers, heartbeatMs, model } = this.#options;
    return acceptPeer({
      rtc,
      iceServers,
      heartbeatMs,
      maxFrameBytes: combineLayout.headerBytes + MAX_ROWS_PER_LAP * model.hiddenSize * 2,
      onSignal: (signal: Signal) => void this.#socket.emit('signal', signal),
    });
  }

  /** A token bucket: honest pages stay far below it. */
  #spend(): boolean {
    const nowMs = Date.now();
    const earned = ((nowMs - this.#allowedAtMs) / 1000) * MAX_SIGNALLING_MESSAGES_PER_SECOND;
    this.#allowance = Math.min(SIGNALLING_BURST_MESSAGES, this.#allowance + earned) - 1;
    this.#allowedAtMs = nowMs;
    return this.#allowance >= 0;
  }

  #drop(what: string): void {
    if (this.#over) return;
    this.#options.log.warn(
      { address: addressOf(this.#socket), peerId: this.#peer?.peerId },
      `dropped a donor: ${what}`,
    );
    if (this.#peer) {
      const message = `The page sent ${what}. Reload it.`;
      this.#options.swarm.dismiss(this.#peer, { code: 'protocol', message, retry: false });
    }
    this.#closeSoon();
  }

  /** After a moment for the last message to leave. */
  #closeSoon(): void {
    if (this.#over) return;
    this.#over = true;
    setTimeout(() => this.#socket.disconnect(true), LAST_WORDS_MS).unref();
  }

  #end(why: string): void {
    clearTimeout(this.#helloTimer);
    if (this.#peer) this.#options.swarm.leave(this.#peer, why);
    this.#connection?.close();
  }
}

function refusal(code: Extract<HelloReply, { ok: false }>['code'], message: string): HelloReply {
  return { ok: false, code, message };
}

function addressOf(socket: Socket): string {
  return socket.handshake.address.replace(/^::ffff:/, '');
}
