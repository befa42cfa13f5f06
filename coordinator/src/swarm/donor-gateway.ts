import {
  combineLayouts,
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
import type { Access } from '../access/access.ts';
import { DonorDoor, DoorError, type Place } from '../access/donor-door.ts';
import { HelloRefused } from './hello-refused.ts';
import type { Swarm } from './swarm.ts';
import type { PeerSession } from './peer-session.ts';

export interface DonorGatewayOptions {
  swarm: Swarm;
  access: Access;
  rtc: RtcImplementation;
  iceServers: RTCIceServer[];
  heartbeatMs: number;
  /** WebRTC connections that a tab is to open. */
  lapConnections: number;
  model: Extract<HelloReply, { ok: true }>['model'];
  log: Logger;
}

/** For a message handed to the socket to leave before the socket is closed. */
const LAST_WORDS_MS = 200;

/** The donors' side of signalling: socket.io messages in and out, each parsed once, with a deadline for the first. */
export function serveDonors(namespace: Namespace, options: DonorGatewayOptions): void {
  const door = new DonorDoor(options.access);
  const sockets = new Set<DonorSocket>();
  namespace.on('connection', (socket) => {
    const donor = new DonorSocket(socket, options, door);
    sockets.add(donor);
    socket.once('disconnect', () => sockets.delete(donor));
  });
  options.access.onChange(() => sockets.forEach((donor) => donor.recheck()));
}

class DonorSocket {
  readonly #socket: Socket;
  readonly #options: DonorGatewayOptions;
  readonly #door: DonorDoor;
  readonly #address: string;
  readonly #helloTimer: NodeJS.Timeout;
  #peer: PeerSession | undefined;
  #place: Place | undefined;
  #connection: AcceptedPeer | undefined;
  /** What comes after that is not read. */
  #over = false;
  #allowance = SIGNALLING_BURST_MESSAGES;
  #allowedAtMs = Date.now();

  constructor(socket: Socket, options: DonorGatewayOptions, door: DonorDoor) {
    this.#socket = socket;
    this.#options = options;
    this.#door = door;
    this.#address = options.access.addressOfSocket(socket);
    this.#helloTimer = setTimeout(() => socket.disconnect(true), HELLO_TIMEOUT_MS);
    socket.use((_, next) => {
      if (this.#over) return;
      if (this.#spend()) next();
      else this.#drop('more messages than the protocol allows');
    });
    socket.on('hello', (message: unknown, reply: unknown) => this.#hello(message, reply));
    this.#on('signal', signalSchema, (_, signal) => this.#signal(signal));
    this.#on('progress', progressSchema, (peer, message) => options.swarm.progress(peer, message));
    this.#on('ready', readySchema, (peer, message) => void options.swarm.ready(peer, message));
    this.#on('trouble', troubleSchema, (peer, message) => options.swarm.trouble(peer, message));
    this.#on('intent', intentSchema, (peer, message) => {
      options.swarm.intent(peer, message);
      // The same donor may come back, with another amount of memory, before this socket is closed.
      if (peer.state === 'gone') this.#place?.leave();
    });
    socket.on('disconnect', () => this.#end('vanished'));
  }

  /** The rules have changed: whoever would not be let in any more is sent away. */
  recheck(): void {
    const peer = this.#peer;
    if (!peer || peer.state === 'gone' || !this.#place || this.#place.allowed()) return;
    const message = 'Your invitation was withdrawn, or invitations are needed from now on. Ask the operator for one.';
    this.#options.swarm.dismiss(peer, { code: 'removed', message, retry: false });
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

  #signal(signal: Signal): void {
    if ((signal.connection ?? 0) >= this.#options.lapConnections)
      return this.#drop('signals for a connection too many');
    this.#connection?.signal(signal);
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
    const { donorToken, tab, inviteToken } = hello;
    try {
      this.#place = this.#door.enter({ address: this.#address, donorToken, tab, inviteToken });
      this.#peer = this.#options.swarm.join(hello, this.#address, {
        assign: (assignment) => void socket.emit('assign', assignment),
        standing: (standing) => void socket.emit('standing', standing),
        dismiss: (farewell) => {
          socket.emit('dismissed', farewell);
          this.#place?.leave();
          this.#closeSoon();
        },
      });
    } catch (error) {
      this.#place?.leave();
      if (error instanceof DoorError) return this.#refuse(error.reason, error.message);
      if (error instanceof HelloRefused) return refusal(error.code, error.message);
      throw error;
    }
    const { iceServers, heartbeatMs, lapConnections, model, log } = this.#options;
    const { peerId } = this.#peer;
    log.info({ peerId, address: this.#address, invite: this.#place?.invite }, 'let a donor in');
    return {
      ok: true,
      protocolVersion: version,
      peerId,
      model,
      iceServers: iceServers as Extract<HelloReply, { ok: true }>['iceServers'],
      heartbeatMs,
      lapConnections,
    };
  }

  #refuse(code: DoorError['reason'], message: string): HelloReply {
    this.#options.access.refusals[code]++;
    this.#options.log.info({ address: this.#address, code }, 'turned a donor away');
    return refusal(code, message);
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
    const { rtc, iceServers, heartbeatMs, lapConnections, model, log } = this.#options;
    return acceptPeer({
      rtc,
      iceServers,
      heartbeatMs,
      lapConnections,
      onFurtherLost: (number, why) => {
        // Said when the visit ends, too, it would be noise.
        if (this.#peer?.state !== 'gone')
          log.info({ peerId: this.#peer?.peerId, number, why }, 'goes on without a further connection');
      },
      maxFrameBytes: combineLayouts.f16.headerBytes + MAX_ROWS_PER_LAP * model.hiddenSize * 2,
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
    this.#options.log.warn({ address: this.#address, peerId: this.#peer?.peerId }, `dropped a donor: ${what}`);
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
    this.#place?.leave();
    if (this.#peer) this.#options.swarm.leave(this.#peer, why);
    this.#connection?.close();
  }
}

function refusal(code: Extract<HelloReply, { ok: false }>['code'], message: string): HelloReply {
  return { ok: false, code, message };
}
