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
  DutyAccount,
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
import { LinkLaps, type QueuedLap } from './link-laps.ts';

/** Laps submitted at once, one by one: enough to keep the backend busy, few enough that a pause takes effect at once. */
export const MAX_LAPS_RUNNING = 4;
/** Batches in flight if the backend takes laps together: one computing, one queued behind it. Later laps form the next batch. */
export const MAX_BATCHES_RUNNING = 2;
/** Rows of a batch: a chunk of prefill. A single lap may have more. */
const MAX_BATCH_ROWS = 64;
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
  /** On all links, including message headers and heartbeats. */
  bytesSent: number;
  bytesReceived: number;
}

/** The link to the coordinator with which the tab signals; the others go by their coordinators' names. */
export const HOME = 'home';

export interface ExpertRunnerOptions {
  /** Whether an expert is loaded and not about to be unloaded. */
  holds: (layer: number, expert: number) => boolean;
  /** What adapters add to the assignments of the home's frame; undefined if one of them is not held. */
  adaptersOf?: (dispatch: DispatchFrame) => ItemAdapters<HeldAdapter> | undefined;
  /** Called with HOME or a guest's name, unless the link was detached. */
  onLinkClosed: (reason: LinkCloseReason, coordinator: string) => void;
  /** Whether the donor's limits allow work now; true by default. */
  mayWork?: () => boolean;
  /** Monotonic clock, in milliseconds. */
  now?: () => number;
  /** Calls back after so many milliseconds of that clock. */
  later?: (run: () => void, delayMs: number) => unknown;
}

/** The part of a backend that a runner needs. */
export interface LapBackend extends Pick<ExpertBackend, 'run' | 'runTogether'> {
  readonly shape: Pick<ExpertBackend['shape'], 'hiddenSize'>;
}

/**
 * Answers laps with a backend: dispatch in, combine or refuse out. Links and backend can be replaced at any time. Links of several
 * coordinators take turns, one lap each, so that none of them delays another's lap by more than what is running and one round.
 */
export class ExpertRunner {
  /** Epoch of the latest assignment; a lap of an older one may name experts that were unloaded. */
  epoch = 0;
  readonly #counters: RunnerCounters = {
    laps: 0,
    rows: 0,
    computeUs: 0,
    queueUs: 0,
    refused: 0,
    cancelled: 0,
    malformed: 0,
    // Of links that have ended.
    bytesSent: 0,
    bytesReceived: 0,
  };
  readonly #options: ExpertRunnerOptions;
  readonly #now: () => number;
  /** Of the time that it computes. */
  readonly #duty: DutyAccount;
  #isResting = false;
  #backend: LapBackend | undefined;
  #deviceLost = false;
  #paused = false;
  /** By coordinator, in the order of their turns. */
  readonly #links = new Map<string, LinkLaps>();
  readonly #running = new Set<Promise<void>>();
  readonly #frames = new FramePool();

  constructor(options: ExpertRunnerOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#duty = new DutyAccount(this.#now);
  }

  /** Takes laps from this coordinator's link, and closes an earlier one of it. */
  attach(link: Link, coordinator = HOME): void {
    this.detach('closed', coordinator);
    const laps = new LinkLaps(link, coordinator === HOME);
    this.#links.set(coordinator, laps);
    link.onFrame = (frame) => this.#onFrame(laps, frame);
    link.onClose = (reason) => {
      if (this.#links.get(coordinator) !== laps) return;
      this.#forget(coordinator, laps);
      this.#options.onLinkClosed(reason, coordinator);
    };
  }

  detach(reason: LinkCloseReason, coordinator = HOME): void {
    const laps = this.#links.get(coordinator);
    if (!laps) return;
    this.#forget(coordinator, laps);
    laps.link.onClose = undefined;
    laps.link.close(reason);
  }

  detachAll(reason: LinkCloseReason): void {
    for (const coordinator of this.#links.keys()) this.detach(reason, coordinator);
  }

  get counters(): RunnerCounters {
    const counters = { ...this.#counters };
    for (const { link } of this.#links.values()) addBytes(counters, link);
    return counters;
  }

  /** Links by coordinator; HOME names the home's. */
  get links(): ReadonlyMap<string, Pick<LinkLaps, 'link'>> {
    return this.#links;
  }

  #forget(coordinator: string, laps: LinkLaps): void {
    this.#links.delete(coordinator);
    laps.takeAll();
    addBytes(this.#counters, laps.link);
  }

  /** Sets or removes the backend; `deviceLost` tells why laps are refused without one. */
  setBackend(backend: LapBackend | undefined, deviceLost = false): void {
    this.#backend = backend;
    this.#deviceLost = deviceLost;
  }

  /** Lets laps on the GPU finish, and refuses queued and new ones so that other peers can take them at once. */
  setPaused(paused: boolean): void {
    this.#paused = paused;
    if (paused) this.refuseWaiting();
  }

  /** Takes up to this share of the time for computing, 0 (exclusive) to 1: between laps it rests. */
  set share(share: number) {
    this.#duty.share = share;
    this.#startNext();
  }

  /** Refuses what waits, so that others can take it at once. */
  refuseWaiting(): void {
    for (const laps of this.#links.values())
      for (const { from, dispatch } of laps.takeAll()) this.#refuse(from.link, dispatch.lapId, 'paused');
  }

  /** Whether no lap is queued or running. */
  get isIdle(): boolean {
    return this.#running.size === 0 && [...this.#links.values()].every(({ next }) => next === undefined);
  }

  /** Resolves when the laps that are on the GPU now have finished. */
  async drained(): Promise<void> {
    await Promise.all(this.#running);
  }

  #onFrame(laps: LinkLaps, frame: Uint8Array): void {
    const { link } = laps;
    const arrivedMs = this.#now();
    const dispatch = this.#decode(laps, frame);
    if (!dispatch) return;
    const refusal = this.#refusalFor(laps, dispatch);
    if (refusal) return this.#refuse(link, dispatch.lapId, refusal);
    if (laps.isFull) return this.#refuse(link, dispatch.lapId, 'busy');
    laps.add(dispatch, arrivedMs);
    this.#startNext();
  }

  #decode(laps: LinkLaps, frame: Uint8Array): DispatchFrame | undefined {
    const { link } = laps;
    let lapId: number | undefined;
    try {
      const peeked = peekFrame(frame);
      if (peeked.type === 'cancel') {
        if (laps.cancel(decodeCancel(frame).lapId)) this.#counters.cancelled++;
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
      this.#counters.malformed++;
      if (lapId !== undefined) this.#refuse(link, lapId, 'bad-frame');
      return undefined;
    }
  }

  #refusalFor(laps: LinkLaps, dispatch: DispatchFrame): LapRefusal | undefined {
    if (this.#paused || this.#options.mayWork?.() === false) return 'paused';
    const { layer, experts } = dispatch;
    // Adapters may go without a new epoch.
    if (dispatch.adapterNumbers && !this.#adaptersOf(laps, dispatch)) return 'stale-epoch';
    if (experts.every((expert) => this.#options.holds(layer, expert))) return undefined;
    return isOlderEpoch(dispatch.epoch, this.epoch) ? 'stale-epoch' : 'unknown-expert';
  }

  #startNext(): void {
    const together = this.#backend?.runTogether !== undefined;
    // With a share of the time, one piece of work begins when the one before it has ended, so that both are counted.
    const most = this.#duty.share < 1 ? 1 : together ? MAX_BATCHES_RUNNING : MAX_LAPS_RUNNING;
    while (this.#running.size < most && !this.#mustRest()) {
      const laps = this.#takeWaiting(together ? MAX_BATCH_ROWS : 1);
      if (laps.length === 0) return;
      const running = this.#run(laps, this.#backend!).finally(() => {
        this.#running.delete(running);
        this.#startNext();
      });
      this.#running.add(running);
    }
  }

  /** Whether it has used its share of the time; if so, it looks again when it may go on. */
  #mustRest(): boolean {
    const restMs = this.#duty.restMs();
    if (restMs === 0 || this.#nextTurn() === undefined) return false;
    if (this.#isResting) return true;
    this.#isResting = true;
    const { later = (run, delayMs) => setTimeout(run, delayMs) } = this.#options;
    later(() => {
      this.#isResting = false;
      this.#startNext();
    }, restMs);
    return true;
  }

  /** Takes a lap of each link in turn, up to `maxRows` rows in all; the first may have more. */
  #takeWaiting(maxRows: number): QueuedLap[] {
    const laps: QueuedLap[] = [];
    let rows = 0;
    for (let turn = this.#nextTurn(); turn; turn = this.#nextTurn()) {
      const [coordinator, from] = turn;
      const lap = from.next!;
      // Since the lap arrived, its experts may have been unloaded or the device lost.
      const refusal = this.#backend ? this.#refusalFor(from, lap.dispatch) : 'device-lost';
      rows += refusal ? 0 : lap.dispatch.numRows;
      if (laps.length > 0 && rows > maxRows) break;
      from.takeNext();
      if (refusal) {
        this.#refuse(from.link, lap.dispatch.lapId, refusal);
        continue;
      }
      laps.push(lap);
      // The link's next turn comes after those of all others.
      this.#links.delete(coordinator);
      this.#links.set(coordinator, from);
    }
    return laps;
  }

  /** The link whose turn it is among those with laps that wait. */
  #nextTurn(): [coordinator: string, laps: LinkLaps] | undefined {
    for (const turn of this.#links) if (turn[1].next) return turn;
    return undefined;
  }

  /** Never rejects. Resolves when the answers have been sent, so that a slow wire slows the runner down. */
  async #run(laps: readonly QueuedLap[], backend: LapBackend): Promise<void> {
    const nowMs = this.#now();
    for (const lap of laps) {
      lap.queueUs = Math.round((nowMs - lap.arrivedMs) * 1000);
      lap.from.begin(lap.dispatch.lapId);
    }
    const sent: (Promise<void> | undefined)[] = [];
    const take = (i: number, sums: Float32Array, computeUs: number): void => {
      sent[i] = this.#answer(laps[i]!, sums, Math.round(computeUs));
    };
    try {
      const items = laps.map((lap) => this.#itemOf(lap));
      // Laps that are cancelled meanwhile have taken their time all the same.
      await compute(backend, items, take).finally(() => this.#spend(this.#now() - nowMs));
    } catch (error) {
      const unanswered = laps.filter((_, i) => sent[i] === undefined);
      // An invalid lap must not fail the others of its batch.
      if (laps.length > 1 && isOfOneLap(error)) await Promise.all(unanswered.map((lap) => this.#run([lap], backend)));
      else for (const { from, dispatch } of unanswered) this.#refuse(from.link, dispatch.lapId, refusalOf(error));
    }
    await Promise.all(sent);
    for (const { from, dispatch } of laps) from.end(dispatch.lapId);
  }

  /** While nothing is limited, pieces of work overlap, and nothing is counted. */
  #spend(computeMs: number): void {
    if (this.#duty.share < 1) this.#duty.spend(computeMs);
  }

  /** A guest's frames name no adapters, since their numbers are the home's. */
  #adaptersOf({ isHome }: LinkLaps, dispatch: DispatchFrame): ItemAdapters<HeldAdapter> | undefined {
    return isHome ? this.#options.adaptersOf?.(dispatch) : undefined;
  }

  #itemOf({ from, dispatch }: QueuedLap): WorkItem {
    if (!dispatch.adapterNumbers) return dispatch;
    const adapters = this.#adaptersOf(from, dispatch);
    if (!adapters) throw new KernelError('not-loaded', 'an adapter of the lap is not held here');
    return { ...dispatch, adapters };
  }

  /** Resolves when the answer has been sent; never rejects. */
  async #answer({ from, dispatch, queueUs }: QueuedLap, sums: Float32Array, computeUs: number): Promise<void> {
    const { link } = from;
    const { lapId, numRows, hiddenSize, rowFormat } = dispatch;
    if (from.isUnwanted(lapId)) {
      this.#counters.cancelled++;
      return;
    }
    const combine = { lapId, numRows, hiddenSize, rowFormat, queueUs, computeUs, partial: sums };
    let frame: Uint8Array<ArrayBuffer>;
    try {
      frame = encodeCombine(combine, (bytes) => this.#frames.take(bytes));
    } catch (error) {
      return this.#refuse(link, lapId, refusalOf(error));
    }
    this.#counters.laps++;
    this.#counters.rows += numRows;
    this.#counters.computeUs += computeUs;
    this.#counters.queueUs += queueUs;
    // If the link has closed, the coordinator has already asked another peer.
    await link.send(frame).catch(() => {});
    this.#frames.give(frame);
  }

  #refuse(link: Link, lapId: number, reason: LapRefusal): void {
    this.#counters.refused++;
    link.send(encodeRefuse({ lapId, reason })).catch(() => {});
  }
}

function addBytes(counters: RunnerCounters, link: Link): void {
  const { bytesSent, bytesReceived } = link.stats();
  counters.bytesSent += bytesSent;
  counters.bytesReceived += bytesReceived;
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
