import { createHash, randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server as HttpServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join, normalize } from 'node:path';
import { createReferenceBackend, type ExpertBackend } from '@shoal/kernels';
import {
  DONOR_INFO_PATH,
  type Contribution,
  helloSchema,
  type Dismissed,
  type DonorInfo,
  type Hello,
  type HelloReply,
  type ShardRef,
  type Signal,
  type Standing,
} from '@shoal/protocol';
import type { DataChannelLike, FramedChannel, Link } from '@shoal/transport';
import { acceptPeer, loadRtc, type AcceptedPeer } from '@shoal/transport/node';
import { packExpert } from '@shoal/weights';
import { Server, type Socket } from 'socket.io';
import { EXPERTS_PER_LAYER, FakeLaps, type LapOutcome, seededNormal, SHAPE } from './donor-fake-laps.ts';

const LAYERS = [3, 4, 5];
const KNOWN_ANSWER_MAX_NMSE = 1e-5;

/** The content policy of the coordinator's own server. */
const POLICY =
  "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; worker-src 'self' blob:";
const TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.wasm': 'application/wasm',
};

export type ShardFault = 'corrupt' | 'missing';

interface FakeModel {
  shards: Map<string, Uint8Array>;
  refs: ShardRef[];
  reference: ExpertBackend;
}

/** Shared by all coordinators of a test file, since it is the same for all. */
let model: Promise<FakeModel> | undefined;

async function makeModel(): Promise<FakeModel> {
  const made: FakeModel = { shards: new Map(), refs: [], reference: createReferenceBackend(SHAPE) };
  const random = seededNormal(7);
  const { hiddenSize: D, moeIntermediateSize: F } = SHAPE;
  const matrix = (length: number, scale: number) => Float32Array.from({ length }, () => random() * scale);
  for (const layer of LAYERS) {
    for (let expert = 0; expert < EXPERTS_PER_LAYER; expert++) {
      const gate = matrix(F * D, D ** -0.5);
      const up = matrix(F * D, D ** -0.5);
      const down = matrix(D * F, F ** -0.5);
      const bytes = packExpert(SHAPE, { gate, up, down });
      const sha256 = createHash('sha256').update(bytes).digest('hex');
      made.shards.set(sha256, bytes);
      made.refs.push({ layer, expert, sha256 });
      await made.reference.load(layer, expert, bytes);
    }
  }
  return made;
}

/** The coordinator as a donor sees it: the page, the shards, signalling, and laps with random rows. */
export class FakeCoordinator {
  readonly requests: string[] = [];
  readonly hellos: Hello[] = [];
  readonly intents: string[] = [];
  readonly troubles: string[] = [];
  shardFault: ShardFault | undefined;
  /** Shards are served once this resolves. */
  shardGate: Promise<void> = Promise.resolve();
  /** Answers a hello instead of a welcome. */
  refusal: Extract<HelloReply, { ok: false }> | undefined;
  /** What donors are told before they lend. */
  info: DonorInfo = {
    model: {
      id: 'fake',
      quant: 'f16',
      layers: LAYERS.length,
      expertsPerLayer: EXPERTS_PER_LAYER,
      expertsPerToken: 2,
      shardBytes: 50_000,
      pledgeBytesPerExpert: 60_000,
    },
    operator: { name: 'Ada', contact: 'ada@example.org', about: 'A model of small stories.' },
    need: { servingTabs: 0, uncovered: LAYERS.length * EXPERTS_PER_LAYER, thin: 0, replicas: 1 },
    traffic: { bytesPerTokenAndLayer: 256, tokensPerSecond: 10 },
    inviteOnly: false,
    takesCpu: true,
  };
  /** Put before the worker's script, to imitate a browser without some feature. */
  workerPrelude = '';
  /** Connections that a tab is told to open. */
  lapConnections = 1;
  readonly #dist: string;
  readonly #http: HttpServer;
  #io: Server | undefined;
  #model!: FakeModel;
  #donor: FakeDonor | undefined;
  #donorWaiters: ((donor: FakeDonor) => void)[] = [];

  constructor(dist: string) {
    this.#dist = dist;
    this.#http = createServer((request, response) => void this.#serve(request, response));
  }

  async start(port = 0): Promise<void> {
    this.#model = await (model ??= makeModel());
    await new Promise<void>((resolve) => this.#http.listen(port, '127.0.0.1', resolve));
    this.#io = new Server(this.#http);
    this.#io.of('/donor').on('connection', (socket) => this.#welcome(socket));
  }

  get port(): number {
    return (this.#http.address() as AddressInfo).port;
  }

  get address(): string {
    return `http://127.0.0.1:${this.port}/`;
  }

  get shardRequests(): number {
    return this.requests.filter((path) => path.startsWith('/shards/')).length;
  }

  get numExperts(): number {
    return this.#model.refs.length;
  }

  /** Tabs that are connected, loaded and tested. */
  get donors(): number {
    return this.#donor ? 1 : 0;
  }

  /** The donor that is connected, loaded and tested, or the next one. */
  donor(): Promise<FakeDonor> {
    if (this.#donor) return Promise.resolve(this.#donor);
    return new Promise((resolve) => this.#donorWaiters.push(resolve));
  }

  /** Stops like a coordinator: every connection breaks, and the port is closed. */
  async stop(): Promise<void> {
    this.#donor = undefined;
    await this.#io?.close();
    this.#http.closeAllConnections();
    if (this.#http.listening) await new Promise((resolve) => this.#http.close(resolve));
  }

  #welcome(socket: Socket): void {
    let donor: FakeDonor | undefined;
    socket.emit('challenge', { nonce: randomBytes(32).toString('base64url') });
    socket.on('hello', (message: unknown, reply: (answer: HelloReply) => void) => {
      const hello = helloSchema.parse(message);
      this.hellos.push(hello);
      if (this.refusal) return reply(this.refusal);
      const { refs, reference, shards } = this.#model;
      donor = new FakeDonor(socket, refs, reference, this.lapConnections, (tested) => {
        this.#donor = tested;
        for (const resolve of this.#donorWaiters.splice(0)) resolve(tested);
      });
      reply({
        ok: true,
        protocolVersion: 1,
        peerId: `peer-${this.hellos.length}`,
        model: { id: 'fake', ...SHAPE, shardBytes: [...shards.values()][0]!.byteLength },
        iceServers: [],
        heartbeatMs: 500,
        lapConnections: this.lapConnections,
      });
    });
    socket.on('intent', ({ intent }: { intent: string }) => this.intents.push(intent));
    socket.on('trouble', ({ code }: { code: string }) => this.troubles.push(code));
    socket.on('disconnect', () => {
      donor?.close();
      if (this.#donor === donor) this.#donor = undefined;
    });
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = new URL(request.url ?? '/', 'http://localhost').pathname;
    if (path.startsWith('/socket.io')) return;
    this.requests.push(path);
    if (path === `/${DONOR_INFO_PATH}`) {
      return void response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(this.info));
    }
    if (path.startsWith('/shards/')) return this.#serveShard(path.slice('/shards/'.length), response);
    await this.#serveFile(path, response);
  }

  async #serveShard(sha256: string, response: ServerResponse): Promise<void> {
    const shard = this.#model.shards.get(sha256);
    if (!shard || this.shardFault === 'missing') return void response.writeHead(404).end();
    await this.shardGate;
    const body = Buffer.from(shard);
    if (this.shardFault === 'corrupt') body[100] = body[100]! ^ 1;
    response
      .writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': body.byteLength })
      .end(body);
  }

  async #serveFile(path: string, response: ServerResponse): Promise<void> {
    const file = path === '/' ? '/index.html' : normalize(path);
    try {
      let body: string | Buffer = await readFile(join(this.#dist, file));
      if (/worker-[^/]*\.js$/.test(file)) body = `${this.workerPrelude}\n${body.toString()}`;
      const type = TYPES[extname(file)] ?? 'application/octet-stream';
      response.writeHead(200, { 'content-type': type, 'content-security-policy': POLICY }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  }
}

/** Of a donor that has helped with so many tokens. */
function contributionOf(tokens: number): Contribution {
  const figures = { tokens, rows: 3 * tokens, verifiedRows: 64, servedSeconds: 60, busySeconds: 30 };
  const [browsers, sinceMs] = [1, 1.7e12];
  const account = { name: null, listed: false, team: null, browsers, credit: null, sinceMs };
  return { kept: true, proven: true, today: figures, week: figures, total: figures, ...account };
}

/** A coordinator that is not the tab's home. */
export interface FakeGuest {
  lap(layer?: number, numRows?: number): Promise<LapOutcome>;
  link: Link;
  close(): void;
}

/** One connected tab, as the coordinator sees it. */
class FakeDonor {
  readonly #socket: Socket;
  readonly #refs: ShardRef[];
  readonly #reference: ExpertBackend;
  readonly #accepted: Promise<AcceptedPeer>;
  readonly #guests = new Map<string, AcceptedPeer>();
  readonly #lapConnections: number;
  #link: FramedChannel | undefined;
  #laps: FakeLaps | undefined;
  #peer: AcceptedPeer | undefined;
  readonly #signals: Signal[] = [];

  constructor(
    socket: Socket,
    refs: ShardRef[],
    reference: ExpertBackend,
    lapConnections: number,
    onTested: (donor: FakeDonor) => void,
  ) {
    this.#lapConnections = lapConnections;
    this.#socket = socket;
    this.#refs = refs;
    this.#reference = reference;
    socket.on('signal', (signal: Signal) => {
      if (signal.guest) this.#guests.get(signal.guest.coordinator)?.signal(signal);
      else if (this.#peer) this.#peer.signal(signal);
      else this.#signals.push(signal);
    });
    socket.on('ready', () => void this.#test(onTested));
    this.#accepted = this.#connect();
    this.#accepted.catch(() => {});
  }

  standing(change: Partial<Standing>): void {
    const rows = this.#laps?.rows ?? 0;
    const standing: Standing = {
      phase: 'waiting',
      epoch: 1,
      layers: [...new Set(this.#refs.map(({ layer }) => layer))],
      experts: this.#refs.length,
      rows,
      rowsPerSecond: 0,
      tokensHelped: rows,
      contribution: contributionOf(rows + 1000),
      rttMs: this.#link?.stats().rttMs ?? null,
      lapMs: null,
      verifiedShare: 1,
      ...change,
    };
    this.#socket.emit('standing', standing);
  }

  dismiss(dismissed: Dismissed): void {
    this.#socket.emit('dismissed', dismissed);
  }

  /** Sends random rows through two experts each of a layer and compares the answer with the reference. */
  lap(layer = LAYERS[0]!, numRows = 5): Promise<LapOutcome> {
    return this.#laps!.ask(layer, numRows);
  }

  /** Another coordinator wants a link to the tab: resolves to its end, which outlives this one. */
  async guest(coordinator: string, attempt = 1): Promise<FakeGuest> {
    const guest = { coordinator, attempt };
    const lapConnections = this.#lapConnections;
    const peer = acceptPeer({
      rtc: await loadRtc(),
      iceServers: [],
      onSignal: (signal) => this.#socket.emit('signal', { ...signal, guest }),
      heartbeatMs: 500,
      lapConnections,
    });
    this.#guests.set(coordinator, peer);
    this.#socket.emit('guest', { ...guest, open: true, iceServers: [], lapConnections });
    const link = await peer.link;
    const laps = new FakeLaps(link, this.#reference);
    return { lap: (layer = LAYERS[0]!, numRows = 5) => laps.ask(layer, numRows), link, close: () => peer.close() };
  }

  /** The open channels of its link. */
  channels(): DataChannelLike[] {
    return this.#link!.channels.filter(({ readyState }) => readyState === 'open');
  }

  close(): void {
    this.#peer?.close();
  }

  async #connect(): Promise<AcceptedPeer> {
    const peer = acceptPeer({
      rtc: await loadRtc(),
      iceServers: [],
      onSignal: (signal) => this.#socket.emit('signal', signal),
      heartbeatMs: 500,
      lapConnections: this.#lapConnections,
    });
    this.#peer = peer;
    for (const signal of this.#signals.splice(0)) peer.signal(signal);
    this.#link = (await peer.link) as FramedChannel;
    this.#laps = new FakeLaps(this.#link, this.#reference);
    this.standing({ phase: 'loading', verifiedShare: null });
    this.#socket.emit('assign', { epoch: 1, shards: this.#refs });
    return peer;
  }

  async #test(onTested: (donor: FakeDonor) => void): Promise<void> {
    await this.#accepted;
    this.standing({ phase: 'testing', verifiedShare: null });
    const layers = [...new Set(this.#refs.map(({ layer }) => layer))];
    for (const layer of layers) {
      const { nmse: error } = await this.lap(layer);
      if (error === undefined || !(error < KNOWN_ANSWER_MAX_NMSE)) {
        return this.dismiss({ code: 'self-test', message: `layer ${layer}: NMSE ${error}`, retry: false });
      }
    }
    this.#laps!.rows = 0;
    this.standing({ phase: 'waiting' });
    onTested(this);
  }
}
