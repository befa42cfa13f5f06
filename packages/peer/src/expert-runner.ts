import { KernelError, type ExpertBackend } from '@shoal/kernels';
import {
  decodeCancel,
  decodeDispatch,
  encodeCombine,
  encodeF16,
  encodeRefuse,
  FrameError,
  peekFrame,
  type DispatchFrame,
  type LapRefusal,
} from '@shoal/protocol';
import type { Link, LinkCloseReason } from '@shoal/transport';

/** Submitted to the GPU at once: enough that it never waits for the next lap, few enough that pausing is felt at once. */
export const MAX_LAPS_RUNNING = 4;
/** Waiting behind those. A coordinator has two half-batches of a handful of layers in flight; more than this is a fault of its own. */
export const MAX_LAPS_QUEUED = 32;

/** What this peer has done since it was made. */
export interface RunnerCounters {
  laps: number;
  rows: number;
  /** Sum over laps of the backend's own time, in microseconds. */
  computeUs: number;
  /** Sum over laps of the time from arrival to submission, in microseconds. */
  queueUs: number;
  refused: number;
  /** Given up because the coordinator needed no answer any more. */
  cancelled: number;
  /** Frames that were no dispatch of this model at all. */
  malformed: number;
}

interface QueuedLap {
  link: Link;
  dispatch: DispatchFrame;
  arrivedMs: number;
}

export interface ExpertRunnerOptions {
  /** Whether an expert is held and not about to be unloaded. */
  holds: (layer: number, expert: number) => boolean;
  onLinkClosed: (reason: LinkCloseReason) => void;
  /** Milliseconds of a clock that never goes back. */
  now?: () => number;
}

/** What a runner needs of a backend. */
export interface LapBackend extends Pick<ExpertBackend, 'run'> {
  readonly shape: Pick<ExpertBackend['shape'], 'hiddenSize'>;
}

/** Answers the laps of one link with one backend: dispatch in, combine or refuse out. Both can be exchanged while it runs. */
export class ExpertRunner {
  /** Placement that this peer has last been given; a lap of an older one may name experts that have gone. */
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
  /** Laps on the GPU whose answer nobody waits for; at most MAX_LAPS_RUNNING. */
  readonly #cancelled = new Set<number>();
  readonly #runningIds = new Set<number>();

  constructor(options: ExpertRunnerOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  /** Take laps from this link from now on; an earlier one is closed. */
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

  /** Undefined while there is none; `deviceLost` then says why laps are refused. */
  setBackend(backend: LapBackend | undefined, deviceLost = false): void {
    this.#backend = backend;
    this.#deviceLost = deviceLost;
  }

  /** Laps on the GPU finish; those that wait, and those that come, are refused so that others can take them at once. */
  setPaused(paused: boolean): void {
    this.#paused = paused;
    if (!paused) return;
    const waiting = this.#queue;
    this.#queue = [];
    for (const { link, dispatch } of waiting) this.#refuse(link, dispatch.lapId, 'paused');
  }

  /** Resolves when the laps that are on the GPU at this moment have finished. */
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
    this.#queue.push({ link, dispatch, arrivedMs });
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
      // Before there is a model there is no telling whether the frame fits one.
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
    const missing = dispatch.experts.find((expert) => !this.#options.holds(dispatch.layer, expert));
    if (missing === undefined) return undefined;
    return dispatch.epoch < this.epoch ? 'stale-epoch' : 'unknown-expert';
  }

  #startNext(): void {
    while (this.#running.size < MAX_LAPS_RUNNING) {
      const lap = this.#queue.shift();
      if (!lap) return;
      // Between arrival and now the experts may have been given up, or the device lost.
      const refusal = this.#backend ? this.#refusalFor(lap.dispatch) : 'device-lost';
      if (refusal) {
        this.#refuse(lap.link, lap.dispatch.lapId, refusal);
        continue;
      }
      const running = this.#run(lap, this.#backend!).finally(() => {
        this.#running.delete(running);
        this.#startNext();
      });
      this.#running.add(running);
    }
  }

  async #run({ link, dispatch, arrivedMs }: QueuedLap, backend: LapBackend): Promise<void> {
    const queueUs = Math.round((this.#now() - arrivedMs) * 1000);
    const { lapId, layer, numRows, hiddenSize } = dispatch;
    this.#runningIds.add(lapId);
    try {
      const output = await backend.run(dispatch);
      if (this.#cancelled.delete(lapId)) {
        this.counters.cancelled++;
        return;
      }
      const computeUs = Math.round(output.computeUs);
      const partial = encodeF16(output.partial);
      const combine = encodeCombine({ lapId, layer, numRows, hiddenSize, queueUs, computeUs, partial });
      this.counters.laps++;
      this.counters.rows += numRows;
      this.counters.computeUs += computeUs;
      this.counters.queueUs += queueUs;
      // A link that closed meanwhile takes its lap with it: the coordinator has long asked someone else.
      await link.send(combine).catch(() => {});
    } catch (error) {
      this.#refuse(link, lapId, refusalOf(error));
    } finally {
      this.#runningIds.delete(lapId);
      this.#cancelled.delete(lapId);
    }
  }

  #refuse(link: Link, lapId: number, reason: LapRefusal): void {
    this.counters.refused++;
    link.send(encodeRefuse({ lapId, reason })).catch(() => {});
  }
}

function refusalOf(error: unknown): LapRefusal {
  if (!(error instanceof KernelError)) return 'failed';
  if (error.reason === 'device-lost') return 'device-lost';
  if (error.reason === 'not-loaded') return 'unknown-expert';
  return error.reason === 'bad-lap' ? 'bad-frame' : 'failed';
}
