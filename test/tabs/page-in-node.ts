import { createReferenceBackend, type ExpertBackend, type ExpertShape } from '@shoal/kernels';
import { createWasmBackend } from '@shoal/kernels/node';
import { HOME, MemoryShardCache, PeerHost } from '@shoal/peer';
import { type AdapterInfo, HEARTBEAT_MS, type Ready } from '@shoal/protocol';
import { coordinatorUrl } from '@shoal/protocol/page';
import {
  BROWSER_SPREAD_ABOVE_BYTES,
  type DataChannelLike,
  FramedChannel,
  MAX_MISSED_OF_COORDINATOR,
  perfectWire,
  seededRandom,
  type WireFaults,
} from '@shoal/transport';
import { loadRtc } from '@shoal/transport/node';
import { DonorSession } from '../../apps/donor/src/donor-session.ts';
import { isLive } from '../../apps/donor/src/donor-state.ts';
import { MemoryStorage } from '../../apps/donor/src/memory-storage.ts';
import type { FromWorker, ToWorker } from '../../apps/donor/src/messages.ts';
import { FaultyChannel } from './faulty-channel.ts';
import { type Adversary, adverseSend, flood, isFlood, neverLoads } from '../chaos/adversaries.ts';
import { type Liar, lyingBackend, tamperedFrame } from '../chaos/liars.ts';
import { Alarm } from './alarm.ts';
import { withControlChannels } from './control-channels.ts';
import { type HeldMs, Line, LineChannel, type LineOptions } from './line.ts';
import { type Pace, pacedBackend } from './paced-backend.ts';

export interface PageOptions {
  /** The coordinator's address. */
  url: string;
  donorToken: string;
  pledgeBytes: number;
  seed: number;
  liar?: Liar;
  adversary?: Adversary;
  /** Computes with the kernels for donors without a GPU, at this pace, behind an adjustable line. */
  measured?: Pace;
}

/** Report of a measured tab. Times are those of its process. */
export interface TabReport {
  nowMs: number;
  /** CPU time of all its threads since its start. */
  cpuMs: number;
  /** Time in its kernels. */
  busyMs: number;
  laps: number;
  rows: number;
  heldMs: HeldMs;
}

/** The coordinator takes two progress messages a second. */
const PROGRESS_INTERVAL_MS = 500;

/**
 * Provides what the donor page needs from a browser. Uses libwebrtc, like Chrome: libdatachannel at both ends fails
 * sometimes if one end gets an answer before it has set its own ("Got a remote candidate without ICE transport").
 */
export async function beABrowser(): Promise<void> {
  const { classes } = await loadRtc(['wrtc']);
  Object.assign(
    globalThis,
    withControlChannels(classes, (channel) => (newestControl = channel)),
  );
}

/** Of the page's newest connection. */
let newestControl: RTCDataChannel | undefined;

/**
 * The donor page's own session (its socket, WebRTC and reconnection) without a document, and with the real PeerHost
 * over the reference backend in place of its worker.
 */
export class PageInNode {
  readonly session: DonorSession;
  readonly cache = new MemoryShardCache();
  /** Shards fetched since the page was opened. */
  downloads = 0;
  readonly #options: PageOptions;
  readonly #random: () => number;
  /** Channels of the current links, by coordinator. */
  readonly #channels = new Map<string, FaultyChannel[]>();
  #faults: Partial<WireFaults> = {};
  #progressMs = 0;
  #mischief: ReturnType<typeof setInterval> | undefined;
  readonly #meter = { busyMs: 0, laps: 0, rows: 0 };
  readonly #alarm: Alarm | undefined;
  readonly #line: Line | undefined;
  #pace: Pace | undefined;

  constructor(options: PageOptions) {
    this.#options = options;
    this.#random = seededRandom(options.seed);
    if (options.measured) {
      this.#pace = options.measured;
      this.#alarm = new Alarm();
      this.#line = new Line(this.#alarm, this.#random);
    }
    this.session = new DonorSession({
      coordinator: coordinatorUrl(options.url),
      createWorker: () => this.#worker(),
      cache: this.cache,
      claimIdentity: async () => ({ donorToken: options.donorToken, tab: 0 }),
      tabStorage: new MemoryStorage(),
      browserStorage: new MemoryStorage(),
      initialPledgeBytes: options.pledgeBytes,
      initialDevice: 'cpu',
    });
  }

  lend(): Promise<void> {
    return this.session.lend({ device: 'cpu', pledgeBytes: this.#options.pledgeBytes, paused: false });
  }

  /** Sets the wire's faults from now on, both ways; later connections get them too. */
  setFaults(faults: Partial<WireFaults>): void {
    this.#faults = faults;
    for (const channel of [...this.#channels.values()].flat()) {
      Object.assign(channel.in, perfectWire, faults);
      Object.assign(channel.out, perfectWire, faults);
    }
  }

  /** Sets the pace and the line of a measured tab from now on. */
  place(pace: Pace, line: LineOptions): void {
    this.#pace = pace;
    this.#line?.set(line);
  }

  report(): TabReport {
    const { user, system } = process.cpuUsage();
    const heldMs = this.#line?.held() ?? { in: { p50: 0, p95: 0 }, out: { p50: 0, p95: 0 } };
    return { nowMs: performance.now(), cpuMs: (user + system) / 1000, ...this.#meter, heldMs };
  }

  #worker(): Worker {
    const adapter = this.#options.measured ? PROCESSOR : ADAPTER;
    const worker = new WorkerInNode((post) => this.#host(post), adapter);
    worker.link = (channel, coordinator) => this.#link(channel, coordinator);
    worker.wire = (channel, coordinator) => this.#wire(channel, coordinator);
    return worker as unknown as Worker;
  }

  #host(post: (message: FromWorker) => void): PeerHost {
    const { url, liar } = this.#options;
    return new PeerHost({
      cache: this.cache,
      createBackend: async (shape: ExpertShape) => {
        const honest = await this.#backend(shape);
        if (liar) return lyingBackend(honest, liar.lie, this.#random, () => this.#isLying(liar));
        return this.#options.adversary === 'never loads' ? neverLoads(honest) : honest;
      },
      urlOf: (sha256) => `${url}/shards/${sha256}`,
      fetch: (...request) => {
        this.downloads++;
        return fetch(...request);
      },
      events: {
        onProgress: (progress) => {
          if (this.#options.adversary === 'never loads') return this.#pretendProgress(progress, post);
          const nowMs = performance.now();
          if (progress.doneBytes < progress.totalBytes && nowMs - this.#progressMs < PROGRESS_INTERVAL_MS) return;
          this.#progressMs = nowMs;
          post({ type: 'progress', progress });
        },
        onReady: (ready) => {
          post({ type: 'ready', ready });
          if (this.#options.adversary === 'loses its device') this.#loseDevice(ready, post);
        },
        onTrouble: (trouble) => post({ type: 'trouble', trouble }),
        onAdapted: (adapted) => post({ type: 'adapted', adapted }),
        onCacheFailure: ({ reason }) => post({ type: 'cache-failed', reason }),
        onLinkClosed: (reason, coordinator) => post({ type: 'link-closed', reason, coordinator }),
        onBackendGone: ({ message }) => post({ type: 'backend-gone', message }),
      },
    });
  }

  async #backend(shape: ExpertShape): Promise<ExpertBackend> {
    if (!this.#alarm) return createReferenceBackend(shape);
    return pacedBackend(await createWasmBackend({ shape }), this.#alarm, () => this.#pace!, this.#meter);
  }

  /** Nothing of one byte, again and again. */
  #pretendProgress(
    progress: Extract<FromWorker, { type: 'progress' }>['progress'],
    post: (message: FromWorker) => void,
  ): void {
    clearInterval(this.#mischief);
    const none = { ...progress, doneBytes: 0, totalBytes: 1, cachedBytes: 0 };
    this.#mischief = setInterval(() => post({ type: 'progress', progress: none }), 5_000);
  }

  #loseDevice(ready: Ready, post: (message: FromWorker) => void): void {
    clearInterval(this.#mischief);
    this.#mischief = setInterval(() => {
      post({ type: 'trouble', trouble: { epoch: ready.epoch, code: 'device-lost', message: 'gone' } });
      post({ type: 'ready', ready });
    }, 125);
  }

  #misbehave(link: FramedChannel): void {
    const { adversary } = this.#options;
    if (adversary !== 'toggles pause' && !isFlood(adversary)) return;
    clearInterval(this.#mischief);
    let turn = 0;
    const toggle = (): void => (turn++ % 2 === 0 ? this.session.pause() : this.session.resume());
    if (adversary === 'toggles pause') this.#mischief = setInterval(toggle, 125);
    else {
      const channel = adversary === 'floods keep-alives' ? newestControl! : link.channel;
      this.#mischief = setInterval(() => flood(adversary, channel as RTCDataChannel), 5);
    }
  }

  #isLying({ begins }: Liar): boolean {
    return begins === 'from the start' || isLive(this.session.state.value.phase);
  }

  #wire(channel: DataChannelLike, coordinator: string): DataChannelLike {
    const wire = new FaultyChannel(this.#line ? new LineChannel(channel, this.#line) : channel, this.#random);
    this.#channels.set(coordinator, [...(this.#channels.get(coordinator) ?? []), wire]);
    this.setFaults(this.#faults);
    return wire;
  }

  #link(channel: DataChannelLike, coordinator: string): FramedChannel {
    this.#channels.delete(coordinator);
    const link = new FramedChannel(this.#wire(channel, coordinator), {
      heartbeatMs: HEARTBEAT_MS,
      maxMissedHeartbeats: MAX_MISSED_OF_COORDINATOR,
      spreadAboveBytes: BROWSER_SPREAD_ABOVE_BYTES,
    });
    const { liar, adversary } = this.#options;
    const send = link.send.bind(link);
    if (liar) link.send = (frame) => send(this.#isLying(liar) ? tamperedFrame(frame, liar.lie) : frame);
    if (adversary) link.send = adverseSend(adversary, send, () => isLive(this.session.state.value.phase));
    if (coordinator === HOME) this.#misbehave(link);
    return link;
  }
}

/** Replaces the page's worker; runs on the page's own thread, one message after another like a worker. */
class WorkerInNode {
  onmessage: ((event: { data: FromWorker }) => void) | undefined;
  onerror: ((event: { message: string }) => void) | undefined;
  link: (channel: DataChannelLike, coordinator: string) => FramedChannel = (channel) => new FramedChannel(channel);
  wire: (channel: DataChannelLike, coordinator: string) => DataChannelLike = (channel) => channel;
  readonly #links = new Map<string, FramedChannel>();
  readonly #host: PeerHost;
  readonly #adapter: AdapterInfo;
  #handled: Promise<void> = Promise.resolve();

  constructor(makeHost: (post: (message: FromWorker) => void) => PeerHost, adapter: AdapterInfo) {
    this.#host = makeHost((message) => this.#post(message));
    this.#adapter = adapter;
  }

  postMessage(message: ToWorker): void {
    this.#handled = this.#handled
      .then(() => this.#handle(message))
      .catch((error: unknown) => this.onerror?.({ message: String(error) }));
  }

  terminate(): void {
    this.onmessage = undefined;
    void this.#host.close();
  }

  #post(message: FromWorker): void {
    queueMicrotask(() => this.onmessage?.({ data: message }));
  }

  #attach(channel: DataChannelLike, { isFurther, coordinator }: { isFurther: boolean; coordinator: string }): void {
    if (isFurther) return this.#links.get(coordinator)?.addChannel(this.wire(channel, coordinator));
    const link = this.link(channel, coordinator);
    this.#links.set(coordinator, link);
    this.#host.attach(link, coordinator);
  }

  async #handle(message: ToWorker): Promise<void> {
    switch (message.type) {
      case 'probe':
        return this.#post({ type: 'probed', adapter: this.#adapter });
      case 'configure':
        await this.#host.configure(message.model, message.pledgeBytes, message.shardUrls);
        return this.#post({ type: 'configured' });
      case 'channel':
        return this.#attach(message.channel as DataChannelLike, message);
      case 'relay':
        throw new Error('A channel in Node is never relayed.');
      case 'detach':
        return this.#host.detach('goodbye', message.coordinator);
      case 'assign':
        return this.#host.assign(message.assignment);
      case 'adapters':
        return this.#host.adapt(message.message);
      case 'pause':
        return this.#host.setPaused(message.paused);
      case 'allow':
        return this.#host.allow(message.allowance);
      // Tabs in Node never agree to exchange shards.
      case 'exchange':
      case 'tab-channel':
      case 'tab-relay':
      case 'tab-gone':
      case 'seek-reply':
        return undefined;
    }
    message satisfies never;
  }
}

const ADAPTER: AdapterInfo = {
  vendor: 'shoal',
  architecture: 'reference',
  description: 'plain TypeScript in a process of its own',
  isFallbackAdapter: true,
  maxBufferBytes: 2 ** 30,
  maxStorageBindingBytes: 2 ** 30,
};

/** The page's name for a processor (apps/donor/src/worker.ts), whose bounds apply when answers are audited. */
const PROCESSOR: AdapterInfo = { ...ADAPTER, vendor: 'cpu', architecture: 'wasm', description: '1 thread' };
