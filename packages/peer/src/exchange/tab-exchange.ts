import { MAX_HAD, MAX_SOUGHT, type Seek, type SeekReply, type TabFault } from '@shoal/protocol';
import type { DataChannelLike } from '@shoal/transport';
import { ShardError } from '../errors.ts';
import type { ShardRequest, ShardSource } from '../fetch-shard.ts';
import { OPEN_TIMEOUT_MS, TabFaultError, TabPeer } from './tab-peer.ts';
import { UploadLine } from './upload-line.ts';

/** The coordinator takes 20 messages a second, of all kinds. */
const SEEK_INTERVAL_MS = 250;
/** After which a shard is fetched from the coordinator, whatever the tracker says. */
const PATIENCE_MS = 15_000;
/** How long nobody waits for a coordinator that did not answer. */
const SILENT_MS = 30_000;
/** Shards that are being given are kept in memory: several tabs often ask for the same one after the other. */
const MAX_RECENT = 4;

export interface TabExchangeOptions {
  /** Asks the coordinator, which tracks who has what. Rejects when it does not answer. */
  seek: (message: Seek) => Promise<SeekReply>;
  /** A shard that the tab has kept. */
  bytesOf: (sha256: string) => Promise<Uint8Array | undefined>;
  /** Whether no lap is queued or running. */
  isIdle: () => boolean;
  onGiven: (bytes: number) => void;
  now?: () => number;
  sleep?: (ms: number) => Promise<void>;
}

const nameOf = (sha256: string): string => sha256.slice(0, 16);

/** Hands shards to other tabs and takes them from others, as the coordinator arranges it. Off until `start`. */
export class TabExchange implements ShardSource {
  readonly origin = 'tab';
  readonly #options: Required<TabExchangeOptions>;
  readonly #line: UploadLine;
  readonly #peers = new Map<string, TabPeer>();
  /** Fetches that wait for a channel that the coordinator has arranged, by tab. */
  readonly #expected = new Map<string, ((peer: TabPeer | undefined) => void)[]>();
  readonly #recent = new Map<string, Promise<Uint8Array | undefined>>();
  /** By name, what the coordinator has said and nobody has used yet; undefined: fetch it from the coordinator. */
  readonly #routes = new Map<string, string | undefined>();
  readonly #have = new Set<string>();
  #news: string[] = [];
  #faults: Seek['faults'] = [];
  /** What those who choose would like, newest choice last. */
  readonly #choosing = new Set<() => readonly string[]>();
  #wake: (() => void)[] = [];
  #isOn = false;
  #isSeeking = false;
  #silentUntilMs = Number.NEGATIVE_INFINITY;

  constructor(options: TabExchangeOptions) {
    const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
    this.#options = { now: () => performance.now(), sleep, ...options };
    this.#line = new UploadLine({ isIdle: options.isIdle, now: this.#options.now, sleep: this.#options.sleep });
  }

  get isOn(): boolean {
    return this.#isOn;
  }

  /** Both ends agree, from now until `stop`. */
  start(uploadBitsPerSecond: number): void {
    this.#line.setRate(uploadBitsPerSecond);
    this.#isOn = true;
    this.#news = [...this.#have];
    this.#seekSoon();
  }

  /** The visit is over, or one of the two no longer agrees. */
  stop(): void {
    this.#isOn = false;
    this.#routes.clear();
    this.#faults = [];
    for (const peer of this.#peers.values()) peer.close();
    this.#peers.clear();
    for (const tab of this.#expected.keys()) this.#arrived(tab, undefined);
    this.#wakeAll();
  }

  /** A channel to another tab, which the coordinator has told both of. */
  attach(tab: string, channel: DataChannelLike): void {
    this.detach(tab);
    const peer = new TabPeer(channel, {
      bytesOf: (sha256) => this.#bytesOf(sha256),
      line: this.#line,
      onGiven: this.#options.onGiven,
      onClosed: () => this.#peers.get(tab) === peer && this.#peers.delete(tab),
    });
    this.#peers.set(tab, peer);
    this.#arrived(tab, peer);
  }

  detach(tab: string): void {
    this.#peers.get(tab)?.close();
    this.#peers.delete(tab);
  }

  /** The tab has kept a shard, and can give it. */
  has(sha256: string): void {
    const name = nameOf(sha256);
    if (this.#have.has(name)) return;
    this.#have.add(name);
    this.#news.push(name);
    this.#seekSoon();
  }

  /**
   * Which of these to fetch next: one that somebody can give now, or that the coordinator is to send. `left` is asked again each
   * time, since others choose too. Undefined once nothing is left.
   */
  async choose(left: () => readonly string[], signal: AbortSignal): Promise<string | undefined> {
    const untilMs = this.#options.now() + PATIENCE_MS;
    this.#choosing.add(left);
    try {
      for (;;) {
        const hashes = left();
        if (hashes.length === 0 || signal.aborted) return hashes[0];
        const routed = hashes.find((sha256) => this.#routes.has(nameOf(sha256)));
        if (routed !== undefined) return routed;
        if (!this.#isOn || this.#options.now() >= untilMs || this.#options.now() < this.#silentUntilMs)
          return hashes[0];
        this.#seekSoon();
        await this.#woken(signal);
      }
    } finally {
      this.#choosing.delete(left);
    }
  }

  fetch(request: ShardRequest): Promise<Uint8Array> | undefined {
    const name = nameOf(request.sha256);
    const tab = this.#routes.get(name);
    this.#routes.delete(name);
    return this.#isOn && tab !== undefined ? this.#fetchFrom(tab, request) : undefined;
  }

  async #fetchFrom(tab: string, request: ShardRequest): Promise<Uint8Array> {
    try {
      const peer = this.#peers.get(tab) ?? (await this.#expect(tab));
      if (!peer) throw new TabFaultError('unreachable', 'No connection to the other tab');
      return await peer.take(request);
    } catch (error) {
      if (!request.signal.aborted) this.#note(tab, request.sha256, faultOf(error));
      throw error;
    }
  }

  #note(tab: string, sha256: string, fault: TabFault): void {
    this.#faults.push({ tab, shard: nameOf(sha256), fault });
    if (fault !== 'lacking') this.detach(tab);
    this.#seekSoon();
  }

  /** The tab once its channel is there; undefined if that takes too long. */
  #expect(tab: string): Promise<TabPeer | undefined> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => done(undefined), OPEN_TIMEOUT_MS);
      const done = (peer: TabPeer | undefined): void => {
        clearTimeout(timer);
        resolve(peer);
      };
      this.#expected.set(tab, [...(this.#expected.get(tab) ?? []), done]);
    });
  }

  #arrived(tab: string, peer: TabPeer | undefined): void {
    for (const done of this.#expected.get(tab) ?? []) done(peer);
    this.#expected.delete(tab);
  }

  #bytesOf(sha256: string): Promise<Uint8Array | undefined> {
    if (!this.#isOn) return Promise.resolve(undefined);
    const known = this.#recent.get(sha256);
    const bytes = known ?? this.#options.bytesOf(sha256);
    this.#recent.delete(sha256);
    this.#recent.set(sha256, bytes);
    const [oldest] = this.#recent.keys();
    if (this.#recent.size > MAX_RECENT) this.#recent.delete(oldest!);
    return bytes;
  }

  /** Asks the coordinator, a few times a second, as long as there is something to ask or tell. */
  #seekSoon(): void {
    if (!this.#isOn || this.#isSeeking) return;
    this.#isSeeking = true;
    void this.#seekAgain();
  }

  async #seekAgain(): Promise<void> {
    try {
      while (this.#isOn && (this.#choosing.size > 0 || this.#news.length > 0 || this.#faults.length > 0)) {
        await this.#seek();
        const isSilent = this.#options.now() < this.#silentUntilMs;
        await this.#options.sleep(isSilent ? SILENT_MS / 10 : SEEK_INTERVAL_MS);
      }
    } finally {
      this.#isSeeking = false;
    }
  }

  async #seek(): Promise<void> {
    const wanted = new Set([...this.#choosing].flatMap((left) => left().map(nameOf)));
    for (const name of this.#routes.keys()) wanted.delete(name);
    const message = {
      have: this.#news.splice(0, MAX_HAD),
      wanted: [...wanted].slice(0, MAX_SOUGHT),
      faults: this.#faults.splice(0, MAX_SOUGHT),
    };
    try {
      const { routes } = await this.#options.seek(message);
      for (const { shard, tab } of routes) this.#routes.set(shard, tab);
    } catch {
      this.#silentUntilMs = this.#options.now() + SILENT_MS;
      this.#news.unshift(...message.have);
    }
    this.#wakeAll();
  }

  #woken(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => done(), SEEK_INTERVAL_MS);
      const done = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', done);
        resolve();
      };
      signal.addEventListener('abort', done, { once: true });
      this.#wake.push(done);
    });
  }

  #wakeAll(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }
}

function faultOf(error: unknown): TabFault {
  if (error instanceof TabFaultError) return error.fault;
  return error instanceof ShardError ? 'wrong-bytes' : 'stalled';
}
