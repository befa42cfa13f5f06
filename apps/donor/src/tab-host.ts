import {
  BROWSER_SPREAD_ABOVE_BYTES,
  type DataChannelLike,
  FramedChannel,
  KernelError,
  MAX_MISSED_OF_COORDINATOR,
  PeerHost,
  type PeerHostOptions,
  RelayedChannel,
} from '@shoal/peer';
import type { AdapterInfo } from '@shoal/protocol';
import type { Device } from './device.ts';
import type { FromWorker, ProbeFailure, ToWorker } from './messages.ts';
import { SeekCalls } from './seek-calls.ts';

const STATS_INTERVAL_MS = 1_000;
/** The coordinator accepts two progress messages per second, which is also enough for the progress bar. */
const PROGRESS_INTERVAL_MS = 500;

type Shape = Parameters<PeerHostOptions['createBackend']>[0];
type Backend = Awaited<ReturnType<PeerHostOptions['createBackend']>>;

/** What a tab's work needs of where it runs: a worker of a browser, or Node. */
export interface TabPlace extends Pick<PeerHostOptions, 'cache' | 'fetch'> {
  /** Describes the device before the model is known, or says why there is none. */
  probe: (device: Device) => Promise<AdapterInfo | ProbeFailure>;
  /** Rejects with a KernelError. */
  createBackend: (device: Device, shape: Shape) => Promise<Backend>;
  /** Tells the page. */
  post: (message: FromWorker) => void;
  /** A bug of ours. */
  onBug: (error: unknown) => void;
}

/** Holds experts and answers laps as the page says (`ToWorker`), one message after another, and reports (`FromWorker`). */
export class TabHost {
  readonly #place: TabPlace;
  readonly #host: PeerHost;
  readonly #seekCalls: SeekCalls;
  /** By coordinator. */
  readonly #links = new Map<string, FramedChannel>();
  #device: Device = 'gpu';
  #heartbeatMs = 0;
  #shardsAt = '';
  /** So the first report is always sent, even if the worker is younger than the interval. */
  #lastProgressMs = -PROGRESS_INTERVAL_MS;
  #statsTimer: ReturnType<typeof setInterval> | undefined;
  #handled: Promise<void> = Promise.resolve();

  constructor(place: TabPlace) {
    this.#place = place;
    const { post } = place;
    this.#seekCalls = new SeekCalls(post);
    this.#host = new PeerHost({
      seek: (message) => this.#seekCalls.call(message),
      createBackend: (shape) => place.createBackend(this.#device, shape),
      cache: place.cache,
      urlOf: (sha256) => `${this.#shardsAt}${sha256}`,
      fetch: place.fetch,
      events: {
        onProgress: (progress) => {
          const nowMs = performance.now();
          const last = progress.doneBytes === progress.totalBytes;
          if (!last && nowMs - this.#lastProgressMs < PROGRESS_INTERVAL_MS) return;
          this.#lastProgressMs = nowMs;
          post({ type: 'progress', progress });
        },
        onReady: (ready) => post({ type: 'ready', ready }),
        onTrouble: (trouble) => post({ type: 'trouble', trouble }),
        onAdapted: (adapted) => post({ type: 'adapted', adapted }),
        onCacheFailure: ({ reason }) => post({ type: 'cache-failed', reason }),
        onLinkClosed: (reason, coordinator) => {
          this.#links.delete(coordinator);
          post({ type: 'link-closed', reason, coordinator });
        },
        onBackendGone: ({ message }) => post({ type: 'backend-gone', message }),
      },
    });
  }

  /** Messages are handled strictly in order: an assignment that comes while the GPU is being set up must wait. */
  receive(message: ToWorker): void {
    this.#handled = this.#handled.then(() => this.#handle(message)).catch((error) => this.#explain(message, error));
  }

  /** Frees the device. */
  async close(): Promise<void> {
    clearInterval(this.#statsTimer);
    await this.#host.close();
  }

  async #handle(message: ToWorker): Promise<void> {
    const host = this.#host;
    switch (message.type) {
      case 'probe':
        return this.#probe(message.device);
      case 'configure':
        this.#heartbeatMs = message.heartbeatMs;
        this.#shardsAt = message.shardsAt;
        await host.configure(message.model, message.pledgeBytes, message.shardUrls);
        this.#statsTimer ??= setInterval(() => this.#postStats(), STATS_INTERVAL_MS);
        return this.#place.post({ type: 'configured' });
      case 'channel':
        return this.#attach(message.channel, message);
      case 'relay':
        return this.#attach(new RelayedChannel(message.port), message);
      case 'detach':
        this.#links.delete(message.coordinator);
        return host.detach('goodbye', message.coordinator);
      case 'assign':
        return host.assign(message.assignment);
      case 'adapters':
        return host.adapt(message.message);
      case 'pause':
        return host.setPaused(message.paused);
      case 'exchange':
        if (message.uploadBitsPerSecond === undefined) return host.exchange.stop();
        return host.exchange.start(message.uploadBitsPerSecond);
      case 'tab-channel':
        return host.exchange.attach(message.tab, message.channel);
      case 'tab-relay':
        return host.exchange.attach(message.tab, new RelayedChannel(message.port));
      case 'tab-gone':
        return host.exchange.detach(message.tab);
      case 'seek-reply':
        return this.#seekCalls.settle(message.id, message.reply);
    }
    message satisfies never;
  }

  async #probe(device: Device): Promise<void> {
    this.#device = device;
    const found = await this.#place.probe(device);
    this.#place.post(
      typeof found === 'string' ? { type: 'probe-failed', reason: found } : { type: 'probed', adapter: found },
    );
  }

  #attach(channel: DataChannelLike, of: { isFurther: boolean; coordinator: string }): void {
    const { isFurther, coordinator } = of;
    if (isFurther) return this.#links.get(coordinator)?.addChannel(channel);
    const link = new FramedChannel(channel, {
      heartbeatMs: this.#heartbeatMs,
      maxMissedHeartbeats: MAX_MISSED_OF_COORDINATOR,
      spreadAboveBytes: BROWSER_SPREAD_ABOVE_BYTES,
    });
    this.#links.set(coordinator, link);
    this.#host.attach(link, coordinator);
  }

  #postStats(): void {
    this.#place.post({ type: 'stats', stats: this.#host.stats(), mirrorFaults: this.#host.takeMirrorFaults() });
  }

  #explain(message: ToWorker, error: unknown): void {
    if (message.type === 'configure') {
      const reason = error instanceof KernelError ? error.reason : 'internal';
      const text = error instanceof Error ? error.message : String(error);
      this.#place.post({ type: 'configure-failed', reason, message: text });
    } else if (message.type === 'probe') {
      this.#place.post({ type: 'probe-failed', reason: 'no-adapter' });
    } else this.#place.onBug(error);
  }
}
