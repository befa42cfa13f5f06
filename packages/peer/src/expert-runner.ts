import {
  KernelError,
  type ExpertBackend,
  type HeldAdapter,
  type ItemAdapters,
  type TakeSums,
  type WorkItem,
} from '@shoal/kernels';
import {
  decodeCancel,
  decodeDispatch,
  encodeCombine,
  encodeRefuse,
  FrameError,
  isOlderEpoch,
  peekFrame,
  type DispatchFrame,
  type LapRefusal,
} from '@shoal/protocol';
import type { Link, LinkCloseReason } from '@shoal/transport';
import { FramePool } from './frame-pool.ts';

/** Laps submitted at once, one by one: enough to keep the backend busy, few enough that a pause takes effect at once. */
export const MAX_LAPS_RUNNING = 4;
/** Batches in flight if the backend takes laps together: one computing, one queued behind it. Later laps form the next batch. */
export const MAX_BATCHES_RUNNING = 2;
/** Rows of a batch: a chunk of prefill. A single lap may have more. */
const MAX_BATCH_ROWS = 64;
/** Laps waiting behind those. A coordinator has at most one layer of each of two micro-batches in flight, and as many laps to one peer (`LapClient`). */
export const MAX_LAPS_QUEUED = 32;

/** Counters since the peer was created. */
export interface RunnerCounters {
  laps: number;
  rows: number;
  /** Sum over laps of the backend's own time, in microseconds. */
  computeUs: number;
  /** Sum over laps of the time from arrival to submission, in microseconds. */
  queueUs: number;
  refused: number;
  /** Given up because the coordinator no longer needed the answer. */
  cancelled: number;
  /** Frames that were not a valid dispatch for this model. */
  malformed: number;
}

interface QueuedLap {
  link: Link;
  dispatch: DispatchFrame;
  arrivedMs: number;
  queueUs: number;
}

export interface ExpertRunnerOptions {
  /** Whether an expert is loaded and not about to be unloaded. */
  holds: (layer: number, expert: number) => boolean;
  /** What adapters add to a frame's assignments; undefined if one of them is not held. */
  adaptersOf?: (dispatch: DispatchFrame) => ItemAdapters<HeldAdapter> | undefined;
  onLinkClosed: (reason: LinkCloseReason) => void;
  /** Monotonic clock, in milliseconds. */
  now?: () => number;
}

/** The part of a backend that a runner needs. */
export interface LapBackend extends Pick<ExpertBackend, 'run' | 'runTogether'> {
  readonly shape: Pick<ExpertBackend['shape'], 'hiddenSize'>;
}

/** Answers the laps of a link with a backend: dispatch in, combine or refuse out. Link and backend can be replaced at any time. */
export class ExpertRunner {
  /** Epoch of the latest assignment; a lap of an older one may name experts that were unloaded. */
  epoch = 0;
  readonly counters: RunnerCounters = {
    laps: 0,
    rows: 0,
    computeUs: 0,
    queueUs: 0,
    refused: 0,
    cancelled: 0,
    malformed: 0,
  };
  readonly #options: ExpertRunnerOptions;
  readonly #now: () => number;
  #backend: LapBackend | undefined;
  #deviceLost = false;
  #paused = false;
  #link: Link | undefined;
  #queue: QueuedLap[] = [];
  readonly #running = new Set<Promise<void>>();
  /** Laps on the GPU whose answer is no longer needed. */
  readonly #cancelled = new Set<number>();
  readonly #runningIds = new Set<number>();
  readonly #frames = new FramePool();

  constructor(options: ExpertRunnerOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  /** Takes laps from this link, and closes an earlier one. */
  attach(link: Link): void {
    this.detach('closed');
    this.#link = link;
    link.onFrame = (frame) => this.#onFrame(link, frame);
    link.onClose = (reason) => {
      if (this.#link !== link) return;
      this.#link = undefined;
      this.#queue = [];
      this.#options.onLinkClosed(reason);
    };
  }

  detach(reason: LinkCloseReason): void {
    const link = this.#link;
    this.#link = undefined;
    this.#queue = [];
    if (link) link.onClose = undefined;
    link?.close(reason);
  }

  get link(): Link | undefined {
    return this.#link;
  }

  /** Sets or removes the backend; `deviceLost` tells why laps are refused without one. */
  setBackend(backend: LapBackend | undefined, deviceLost = false): void {
    this.#backend = backend;
    this.#deviceLost = deviceLost;
  }

  /** Lets laps on the GPU finish, and refuses queued and new ones so that other peers can take them at once. */
  setPaused(paused: boolean): void {
    this.#paused = paused;
    if (!paused) return;
    const waiting = this.#queue;
    this.#queue = [];
    for (const { link, dispatch } of waiting) this.#refuse(link, dispatch.lapId, 'paused');
  }

  /** Whether no lap is queued or running. */
  get isIdle(): boolean {
    return this.#queue.length === 0 && this.#running.size === 0;
  }

  /** Resolves when the laps that are on the GPU now have finished. */
  async drained(): Promise<void> {
    await Promise.all(this.#running);
  }

  #onFrame(link: Link, frame: Uint8Array): void {
    const arrivedMs = this.#now();
    const dispatch = this.#decode(link, frame);
    if (!dispatch) return;
    const refusal = this.#refusalFor(dispatch);
    if (refusal) return this.#refuse(link, dispatch.lapId, refusal);
    if (this.#queue.length >= MAX_LAPS_QUEUED) return this.#refuse(link, dispatch.lapId, 'busy');
    this.#queue.push({ link, dispatch, arrivedMs, queueUs: 0 });
    this.#startNext();
  }

  #decode(link: Link, frame: Uint8Array): DispatchFrame | undefined {
    let lapId: number | undefined;
    try {
      const peeked = peekFrame(frame);
      if (peeked.type === 'cancel') {
        this.#cancel(decodeCancel(frame).lapId);
        return undefined;
      }
      lapId = peeked.lapId;
      // Without a model, a dispatch cannot be decoded.
      if (!this.#backend) {
        this.#refuse(link, lapId, this.#deviceLost ? 'device-lost' : 'unknown-layer');
        return undefined;
      }
      return decodeDispatch(frame, { hiddenSize: this.#backend.shape.hiddenSize });
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      this.counters.malformed++;
      if (lapId !== undefined) this.#refuse(link, lapId, 'bad-frame');
      return undefined;
    }
  }

  #cancel(lapId: number): void {
    const waiting = this.#queue.findIndex((lap) => lap.dispatch.lapId === lapId);
    if (waiting >= 0) {
      this.#queue.splice(waiting, 1);
      this.counters.cancelled++;
    } else if (this.#runningIds.has(lapId)) {
      this.#cancelled.add(lapId);
    }
  }

  #refusalFor(dispatch: DispatchFrame): LapRefusal | undefined {
    if (this.#paused) return 'paused';
    const { layer, experts } = dispatch;
    // Adapters may go without a new epoch.
    if (dispatch.adapterNumbers && !this.#options.adaptersOf?.(dispatch)) return 'stale-epoch';
    if (experts.every((expert) => this.#options.holds(layer, expert))) return undefined;
    return isOlderEpoch(dispatch.epoch, this.epoch) ? 'stale-epoch' : 'unknown-expert';
  }

  #startNext(): void {
    const together = this.#backend?.runTogether !== undefined;
    while (this.#running.size < (together ? MAX_BATCHES_RUNNING : MAX_LAPS_RUNNING)) {
      const laps = this.#takeWaiting(together ? MAX_BATCH_ROWS : 1);
      if (laps.length === 0) return;
      const running = this.#run(laps, this.#backend!).finally(() => {
        this.#running.delete(running);
        this.#startNext();
      });
      this.#running.add(running);
    }
  }

  /** Takes the first queued lap and further ones up to `maxRows` rows in all. */
  #takeWaiting(maxRows: number): QueuedLap[] {
    const laps: QueuedLap[] = [];
    let rows = 0;
    while (this.#queue.length > 0) {
      const lap = this.#queue[0]!;
      // Since the lap arrived, its experts may have been unloaded or the device lost.
      const refusal = this.#backend ? this.#refusalFor(lap.dispatch) : 'device-lost';
      rows += refusal ? 0 : lap.dispatch.numRows;
      if (laps.length > 0 && rows > maxRows) break;
      this.#queue.shift();
      if (refusal) this.#refuse(lap.link, lap.dispatch.lapId, refusal);
      else laps.push(lap);
    }
    return laps;
  }

  /** Never rejects. Resolves when the answers have been sent, so that a slow wire slows the runner down. */
  async #run(laps: readonly QueuedLap[], backend: LapBackend): Promise<void> {
    const nowMs = this.#now();
    for (const lap of laps) {
      lap.queueUs = Math.round((nowMs - lap.arrivedMs) * 1000);
      this.#runningIds.add(lap.dispatch.lapId);
    }
    const sent: (Promise<void> | undefined)[] = [];
    const take = (i: number, sums: Float32Array, computeUs: number): void => {
      sent[i] = this.#answer(laps[i]!, sums, Math.round(computeUs));
    };
    try {
      const items = laps.map(({ dispatch }) => this.#itemOf(dispatch));
      await compute(backend, items, take);
    } catch (error) {
      const unanswered = laps.filter((_, i) => sent[i] === undefined);
      // An invalid lap must not fail the others of its batch.
      if (laps.length > 1 && isOfOneLap(error)) await Promise.all(unanswered.map((lap) => this.#run([lap], backend)));
      else for (const { link, dispatch } of unanswered) this.#refuse(link, dispatch.lapId, refusalOf(error));
    }
    await Promise.all(sent);
    for (const { dispatch } of laps) {
      this.#runningIds.delete(dispatch.lapId);
      this.#cancelled.delete(dispatch.lapId);
    }
  }

  #itemOf(dispatch: DispatchFrame): WorkItem {
    if (!dispatch.adapterNumbers) return dispatch;
    const adapters = this.#options.adaptersOf?.(dispatch);
    if (!adapters) throw new KernelError('not-loaded', 'an adapter of the lap is not held here');
    return { ...dispatch, adapters };
  }

  /** Resolves when the answer has been sent; never rejects. */
  async #answer({ link, dispatch, queueUs }: QueuedLap, sums: Float32Array, computeUs: number): Promise<void> {
    const { lapId, numRows, hiddenSize, rowFormat } = dispatch;
    if (this.#cancelled.delete(lapId)) {
      this.counters.cancelled++;
      return;
    }
    const combine = { lapId, numRows, hiddenSize, rowFormat, queueUs, computeUs, partial: sums };
    let frame: Uint8Array<ArrayBuffer>;
    try {
      frame = encodeCombine(combine, (bytes) => this.#frames.take(bytes));
    } catch (error) {
      return this.#refuse(link, lapId, refusalOf(error));
    }
    this.counters.laps++;
    this.counters.rows += numRows;
    this.counters.computeUs += computeUs;
    this.counters.queueUs += queueUs;
    // If the link has closed, the coordinator has already asked another peer.
    await link.send(frame).catch(() => {});
    this.#frames.give(frame);
  }

  #refuse(link: Link, lapId: number, reason: LapRefusal): void {
    this.counters.refused++;
    link.send(encodeRefuse({ lapId, reason })).catch(() => {});
  }
}

async function compute(backend: LapBackend, laps: readonly WorkItem[], take: TakeSums): Promise<void> {
  if (backend.runTogether) return backend.runTogether(laps, take);
  const { partial, computeUs } = await backend.run(laps[0]!);
  take(0, partial, computeUs);
}

function isOfOneLap(error: unknown): boolean {
  return error instanceof KernelError && (error.reason === 'bad-lap' || error.reason === 'not-loaded');
}

function refusalOf(error: unknown): LapRefusal {
  if (!(error instanceof KernelError)) return 'failed';
  if (error.reason === 'device-lost') return 'device-lost';
  if (error.reason === 'not-loaded') return 'unknown-expert';
  return error.reason === 'bad-lap' ? 'bad-frame' : 'failed';
}
