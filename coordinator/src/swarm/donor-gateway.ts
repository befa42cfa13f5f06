import {
  adaptedSchema,
  fetchedSchema,
  guestRefusedSchema,
  HELLO_TIMEOUT_MS,
  type Hello,
  type HelloReply,
  helloSchema,
  intentSchema,
  MAX_SIGNALLING_MESSAGES_PER_SECOND,
  explainNoPath,
  negotiateVersion,
  type NoPath,
  noPathSchema,
  progressSchema,
  promiseSchema,
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
import type { AcceptedPeer } from '@shoal/transport/node';
import type { Logger } from 'pino';
import type { Namespace, Socket } from 'socket.io';
import type { z } from 'zod';
import type { Access } from '../access/access.ts';
import { DonorDoor, type DonorDoorOptions, type Place } from '../access/donor-door.ts';
import { JoinRefused } from '../access/join-refused.ts';
import { newChallenge, provenKey } from '../access/proof.ts';
import { TokenBucket } from '../base/token-bucket.ts';
import { acceptTab, type TabNetwork } from './accept-tab.ts';
import { donorIdOf } from './donor-id.ts';
import { MADE_WAY } from './messages.ts';
import type { DonorControl } from './donor-control.ts';
import type { PeerSession } from './peer-session.ts';
import type { ShardReports } from './shard-reports.ts';
import type { Swarm } from './swarm.ts';
import type { TabMeetings } from './tab-meetings.ts';

type Welcome = Extract<HelloReply, { ok: true }>;

export interface DonorGatewayOptions {
  swarm: Swarm;
  access: Access;
  network: TabNetwork;
  log: Logger;
  /** What the donors' door counts with other coordinators. */
  door?: DonorDoorOptions;
  /** Takes what tabs say about where they got their shards. */
  shardReports: ShardReports;
  /** Where tabs exchange shards; undefined where the operator does not want that. */
  meetings: TabMeetings | undefined;
  /** What every tab is told when it joins. */
  terms: Pick<Welcome, 'model' | 'heartbeatMs' | 'shardUrls'> & { lapConnections: number };
}

/** Time for a message handed to the socket to be sent before the socket is closed. */
const FLUSH_MS = 200;

/** Serves signalling to donors over socket.io. Every message is parsed once; the first has a deadline. */
export function serveDonors(namespace: Namespace, options: DonorGatewayOptions): void {
  const door = new DonorDoor(options.access, options.door);
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
  /** Answered by the first hello, which is the only one. */
  readonly #challenge = newChallenge();
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
    this.#on('signal', signalSchema, (peer, signal) => this.#signal(peer, signal));
    this.#on('guest-refused', guestRefusedSchema, (peer, refused) =>
      options.swarm.guests?.relay.refused(peer, refused),
    );
    this.#on('progress', progressSchema, (peer, message) => options.swarm.progress(peer, message));
    this.#on('ready', readySchema, (peer, message) => void options.swarm.ready(peer, message));
    this.#on('trouble', troubleSchema, (peer, message) => options.swarm.trouble(peer, message));
    this.#on('adapted', adaptedSchema, (peer, message) => options.swarm.adapters?.adapted(peer, message));
    this.#on('fetched', fetchedSchema, (peer, message) => options.shardReports.take(peer, message));
    this.#on('tab-signal', tabSignalSchema, ({ peerId }, message) => options.meetings?.signal(peerId, message));
    socket.on('seek', (message: unknown, reply: unknown) => this.#seek(message, reply));
    this.#on('no-path', noPathSchema, (peer, facts) => this.#noPath(peer, facts));
    this.#on('intent', intentSchema, (peer, message) => {
      options.swarm.intent(peer, message);
      // The donor may rejoin, with another amount of memory, before this socket is closed.
      if (peer.state === 'gone') this.#place?.leave();
    });
    this.#on('promise', promiseSchema, (peer, promise) => {
      options.swarm.promise(peer, promise);
      if (peer.state === 'gone') this.#place?.leave();
    });
    socket.on('disconnect', () => this.#end('vanished'));
    socket.emit('challenge', this.#challenge);
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

  #signal(peer: PeerSession, signal: Signal): void {
    if (signal.guest) return this.#options.swarm.guests?.relay.fromTab(peer, signal);
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
      const keyId = this.#provenKeyId(hello);
      const control: DonorControl = {
        assign: (assignment) => void socket.emit('assign', assignment),
        adapters: (message) => void socket.emit('adapters', message),
        standing: (standing) => void socket.emit('standing', standing),
        guest: (guest) => void socket.emit('guest', guest),
        signal: (signal) => void socket.emit('signal', signal),
        dismiss: (farewell) => {
          socket.emit('dismissed', farewell);
          this.#place?.leave();
          this.#closeSoon();
        },
      };
      this.#peer = this.#options.swarm.join(hello, this.#address, control, keyId);
    } catch (error) {
      this.#place?.leave();
      if (!(error instanceof JoinRefused)) throw error;
      return this.#refuse(error);
    }
    const { terms, network, log } = this.#options;
    const { peerId, donorId } = this.#peer;
    log.info({ peerId, address: this.#address, invite: this.#place.invite }, 'a donor joined');
    const iceServers = network.iceServers.forDonor(donorId);
    const exchange = this.#meet(hello, this.#peer);
    return { ok: true, protocolVersion: version, peerId, iceServers, ...terms, ...exchange };
  }

  /** A forged proof earns nothing, not even a visit under the token. */
  #provenKeyId({ proof }: Hello): string | undefined {
    if (!proof) return undefined;
    const key = provenKey(proof, this.#challenge, 'join');
    if (!key)
      throw new JoinRefused('invalid', 'The page’s proof of which browser it is does not hold. Reload the page.');
    return donorIdOf(key);
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
    const { network, terms, log } = this.#options;
    return acceptTab({ network, ...terms, hiddenSize: terms.model.hiddenSize }, this.#address, {
      onFurtherLost: (number, why) => {
        // Not logged when the whole visit ends.
        if (this.#peer?.state !== 'gone')
          log.info({ peerId: this.#peer?.peerId, number, why }, 'lost an additional connection, continuing without it');
      },
      onSignal: (signal: Signal) => void this.#socket.emit('signal', signal),
    });
  }

  /** The tab goes, and says why there is no link: for the operator, as the page says it to the donor. */
  #noPath(peer: PeerSession, facts: NoPath): void {
    if (peer.connected) return;
    const { code, operator } = explainNoPath(facts, this.#connection?.told);
    this.#options.log.warn({ peerId: peer.peerId, address: this.#address, code, facts }, 'a tab found no way by UDP');
    this.#options.swarm.leave(
      peer,
      `found no way by UDP in ${Math.round(facts.waitedMs / 1000)} s. ${operator}`,
      false,
    );
    this.#place?.leave();
    this.#closeSoon();
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

function refusal(code: Extract<HelloReply, { ok: false }>['code'], message: string): HelloReply {
  return { ok: false, code, message };
}
