import {
  adaptedSchema,
  fetchedSchema,
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
  seekSchema,
  SIGNALLING_BURST_MESSAGES,
  type Signal,
  signalSchema,
  SUPPORTED_VERSIONS,
  tabSignalSchema,
  troubleSchema,
} from '@shoal/protocol';
import { startDeadline, TransportError } from '@shoal/transport';
import { type AcceptedPeer, acceptPeer, type RtcImplementation } from '@shoal/transport/node';
import type { Logger } from 'pino';
import type { Namespace, Socket } from 'socket.io';
import type { z } from 'zod';
import type { Access } from '../access/access.ts';
import { DonorDoor, type Place } from '../access/donor-door.ts';
import { JoinRefused } from '../access/join-refused.ts';
import { TokenBucket } from '../base/token-bucket.ts';
import { reachableFor } from '../base/networks.ts';
import { MADE_WAY } from './messages.ts';
import type { PeerSession } from './peer-session.ts';
import type { ShardReports } from './shard-reports.ts';
import type { Swarm } from './swarm.ts';
import type { TabMeetings } from './tab-meetings.ts';

type Welcome = Extract<HelloReply, { ok: true }>;

export interface DonorGatewayOptions {
  swarm: Swarm;
  access: Access;
  rtc: RtcImplementation;
  log: Logger;
  /** Takes what tabs say about where they got their shards. */
  shardReports: ShardReports;
  /** Where tabs exchange shards; undefined where the operator does not want that. */
  meetings: TabMeetings | undefined;
  /** What every tab is told when it joins. */
  terms: Pick<Welcome, 'model' | 'iceServers' | 'heartbeatMs' | 'shardUrls'> & { lapConnections: number };
}

/** Time for a message handed to the socket to be sent before the socket is closed. */
const FLUSH_MS = 200;

/** Serves signalling to donors over socket.io. Every message is parsed once; the first has a deadline. */
export function serveDonors(namespace: Namespace, options: DonorGatewayOptions): void {
  const door = new DonorDoor(options.access);
  const sockets = new Set<DonorSocket>();
  namespace.on('connection', (socket) => {
    const donor = new DonorSocket(socket, options, door);
    sockets.add(donor);
    socket.once('disconnect', () => sockets.delete(donor));
  });
  options.access.events.on('change', () => sockets.forEach((donor) => donor.recheck()));
}

class DonorSocket {
  readonly #socket: Socket;
  readonly #options: DonorGatewayOptions;
  readonly #door: DonorDoor;
  readonly #address: string;
  readonly #cancelHelloDeadline: () => void;
  #peer: PeerSession | undefined;
  #place: Place | undefined;
  #connection: AcceptedPeer | undefined;
  /** Further messages are ignored. */
  #over = false;
  /** Honest pages stay far below it. */
  readonly #messages = new TokenBucket(
    SIGNALLING_BURST_MESSAGES,
    (1000 * SIGNALLING_BURST_MESSAGES) / MAX_SIGNALLING_MESSAGES_PER_SECOND,
  );

  constructor(socket: Socket, options: DonorGatewayOptions, door: DonorDoor) {
    this.#socket = socket;
    this.#options = options;
    this.#door = door;
    this.#address = options.access.addressOfSocket(socket);
    this.#cancelHelloDeadline = startDeadline(() => socket.disconnect(true), HELLO_TIMEOUT_MS);
    socket.use((_, next) => {
      if (this.#over) return;
      if (this.#messages.take() === 0) next();
      else this.#drop('more messages than the protocol allows');
    });
    socket.on('hello', (message: unknown, reply: unknown) => this.#hello(message, reply));
    this.#on('signal', signalSchema, (_, signal) => this.#signal(signal));
    this.#on('progress', progressSchema, (peer, message) => options.swarm.progress(peer, message));
    this.#on('ready', readySchema, (peer, message) => void options.swarm.ready(peer, message));
    this.#on('trouble', troubleSchema, (peer, message) => options.swarm.trouble(peer, message));
    this.#on('adapted', adaptedSchema, (peer, message) => options.swarm.adapters?.adapted(peer, message));
    this.#on('fetched', fetchedSchema, (peer, message) => options.shardReports.take(peer, message));
    this.#on('tab-signal', tabSignalSchema, ({ peerId }, message) => options.meetings?.signal(peerId, message));
    socket.on('seek', (message: unknown, reply: unknown) => this.#seek(message, reply));
    this.#on('intent', intentSchema, (peer, message) => {
      options.swarm.intent(peer, message);
      // The donor may rejoin, with another amount of memory, before this socket is closed.
      if (peer.state === 'gone') this.#place?.leave();
    });
    socket.on('disconnect', () => this.#end('vanished'));
  }

  /** Dismisses the tab if the new access rules would not let it in. */
  recheck(): void {
    const peer = this.#peer;
    if (!peer || peer.state === 'gone' || !this.#place || this.#place.allowed()) return;
    const message = 'Your invitation was withdrawn, or one is required now. Ask the operator for a new one.';
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
    if (typeof reply !== 'function' || this.#peer) return this.#drop('a second hello, or one without a callback');
    const parsed = helloSchema.safeParse(message);
    if (!parsed.success) {
      const field = parsed.error.issues[0]?.path.join('.');
      reply(refusal('invalid', `The page sent a malformed hello (${field}). Reload the page.`));
      return this.#drop('a malformed hello');
    }
    this.#cancelHelloDeadline();
    reply(this.#join(parsed.data));
    if (this.#peer) this.#connect(this.#peer);
    else this.#closeSoon();
  }

  #signal(signal: Signal): void {
    if ((signal.connection ?? 0) >= this.#options.terms.lapConnections)
      return this.#drop('a signal for a connection beyond the number allowed');
    this.#connection?.signal(signal);
  }

  #seek(message: unknown, reply: unknown): void {
    const parsed = seekSchema.safeParse(message);
    if (!parsed.success || typeof reply !== 'function') return this.#drop('a malformed "seek" message');
    const { meetings } = this.#options;
    if (!this.#peer || this.#peer.state === 'gone' || !meetings) return;
    reply(meetings.seek(this.#peer.peerId, parsed.data));
  }

  /** Lets the tab exchange shards with others, if its donor and the operator agree. */
  #meet(hello: Hello, peer: PeerSession): { tabToTab?: true } {
    const { meetings } = this.#options;
    if (!meetings || !hello.tabToTab) return {};
    meetings.join(peer, {
      link: (message) => void this.#socket.emit('tab-link', message),
      signal: (message) => void this.#socket.emit('tab-signal', message),
    });
    return { tabToTab: true };
  }

  #join(hello: Hello): HelloReply {
    const version = negotiateVersion(hello.protocolVersions);
    if (version === undefined) {
      const [theirs, ours] = [hello.protocolVersions.join(', '), SUPPORTED_VERSIONS.join(', ')];
      const message = `The page speaks protocol version ${theirs}, this coordinator ${ours}. Reload the page.`;
      return refusal('version', message);
    }
    const socket = this.#socket;
    const { donorToken, tab, inviteToken } = hello;
    try {
      const caller = { address: this.#address, donorToken, tab, inviteToken };
      this.#place = this.#door.enter(caller, () => this.#makeWay());
      this.#peer = this.#options.swarm.join(hello, this.#address, {
        assign: (assignment) => void socket.emit('assign', assignment),
        adapters: (message) => void socket.emit('adapters', message),
        standing: (standing) => void socket.emit('standing', standing),
        dismiss: (farewell) => {
          socket.emit('dismissed', farewell);
          this.#place?.leave();
          this.#closeSoon();
        },
      });
    } catch (error) {
      this.#place?.leave();
      if (!(error instanceof JoinRefused)) throw error;
      return this.#refuse(error);
    }
    const { terms, log } = this.#options;
    const { peerId } = this.#peer;
    log.info({ peerId, address: this.#address, invite: this.#place.invite }, 'a donor joined');
    return { ok: true, protocolVersion: version, peerId, ...terms, ...this.#meet(hello, this.#peer) };
  }

  #makeWay(): void {
    if (this.#peer) this.#options.swarm.dismiss(this.#peer, { code: 'timeout', message: MADE_WAY, retry: true });
  }

  #refuse({ code, message }: JoinRefused): HelloReply {
    // Only refusals by the access rules are counted.
    if (code === 'invite' || code === 'limit') {
      this.#options.access.refusals[code]++;
      this.#options.log.info({ address: this.#address, code }, 'refused a donor');
    }
    return refusal(code, message);
  }

  #connect(peer: PeerSession): void {
    const { swarm } = this.#options;
    try {
      this.#connection = this.#accept();
    } catch (error) {
      // WebRTC itself failed, for example on malformed ICE servers or for lack of memory. Other donors are not affected.
      this.#options.log.error({ err: error, peerId: peer.peerId }, 'could not create a WebRTC connection');
      const message = 'The coordinator could not open a WebRTC connection. Its log tells the operator why.';
      return swarm.dismiss(peer, { code: 'timeout', message, retry: true });
    }
    this.#connection.link.then(
      (link) => {
        this.#place?.connected();
        swarm.attach(peer, link);
      },
      (error: unknown) => {
        if (!(error instanceof TransportError)) throw error;
        const message = `The WebRTC connection failed (${error.message}). A firewall may be blocking it.`;
        swarm.dismiss(peer, { code: 'timeout', message, retry: true });
      },
    );
  }

  #accept(): AcceptedPeer {
    const { rtc, terms, log } = this.#options;
    const { iceServers, heartbeatMs, lapConnections, model } = terms;
    return acceptPeer({
      rtc,
      iceServers: withoutRelays(iceServers) as RTCIceServer[],
      heartbeatMs,
      lapConnections,
      onlyAnswers: true,
      allowsTarget: reachableFor(this.#address),
      onFurtherLost: (number, why) => {
        // Not logged when the whole visit ends.
        if (this.#peer?.state !== 'gone')
          log.info({ peerId: this.#peer?.peerId, number, why }, 'lost an additional connection, continuing without it');
      },
      maxFrameBytes: combineLayouts.f16.headerBytes + MAX_ROWS_PER_LAP * model.hiddenSize * 2,
      onSignal: (signal: Signal) => void this.#socket.emit('signal', signal),
    });
  }

  #drop(what: string): void {
    if (this.#over) return;
    this.#options.log.warn({ address: this.#address, peerId: this.#peer?.peerId }, `dropped a donor that sent ${what}`);
    if (this.#peer) {
      const message = `The page sent ${what}. Reload the page.`;
      this.#options.swarm.letGo(this.#peer, { code: 'protocol', message, retry: false });
    }
    this.#closeSoon();
  }

  /** Closes the socket once the last message has had time to be sent. */
  #closeSoon(): void {
    if (this.#over) return;
    this.#over = true;
    if (this.#peer) this.#options.meetings?.leave(this.#peer.peerId);
    setTimeout(() => this.#socket.disconnect(true), FLUSH_MS).unref();
  }

  #end(why: string): void {
    this.#cancelHelloDeadline();
    this.#place?.leave();
    if (this.#peer) this.#options.meetings?.leave(this.#peer.peerId);
    if (this.#peer) this.#options.swarm.leave(this.#peer, why);
    this.#connection?.close();
  }
}

/**
 * ICE servers for the coordinator's own end. A tab's relay leads here; one of ours would lead to no tab, as our TURN server relays
 * to this machine alone, and each connection would take a place of it that a tab needs.
 */
function withoutRelays(servers: Welcome['iceServers']): Welcome['iceServers'] {
  return servers.flatMap(({ urls, ...login }) => {
    const left = [urls].flat().filter((url) => !/^turns?:/i.test(url));
    return left.length === 0 ? [] : [{ urls: left, ...login }];
  });
}

function refusal(code: Extract<HelloReply, { ok: false }>['code'], message: string): HelloReply {
  return { ok: false, code, message };
}
