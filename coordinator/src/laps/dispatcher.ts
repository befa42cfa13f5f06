import {
  type ExpertDispatch,
  type MoeCall,
  pickAssignments,
  type RowSource,
  uniformRowEnd,
  type WorkItem,
} from '@shoal/model';
import { FrameError, itemRows, type RowFormat } from '@shoal/protocol';
import { type Clock, systemClock } from '../base/clock.ts';
import type { LocalCompute } from '../local-experts/local-compute.ts';
import type { LapEvent, PassName, Timeline } from '../timeline/timeline.ts';
import { type Attempt, hedge, HedgeBudget } from './hedge.ts';
import { type LapAnswer, LapError, type LapTiming, type LapTrace } from './lap.ts';
import { LapFigures } from './lap-figures.ts';
import { inFrames, type LapPeer, LapSplitter, type Part } from './lap-splitter.ts';
import { asSent, type RowParts, sumParts } from './row-sums.ts';

export interface DispatcherOptions {
  hiddenSize: number;
  nRoutedExperts: number;
  numExpertsPerTok: number;
  /** What rows and sums of laps are rounded to; f16 by default. */
  rowFormat?: RowFormat;
  /** Computes what no peer does. */
  local: LocalCompute;
  /** Layers that the coordinator holds by plan, and what computes them. They make no lap. */
  localLayers?: { layers: ReadonlySet<number>; work: LocalCompute };
  /** The layer of the model's MTP module, whose rows draft tokens and enter no answer. */
  mtpLayer?: number | undefined;
  /** The peers that may be asked now, in a stable order. */
  peers: () => Iterable<LapPeer>;
  /** Called when a lap begins, with its rows as f16 bits, [numRows, hiddenSize]. */
  onDispatch?: (call: MoeCall, rows: Uint16Array) => void;
  /** Called when a lap failed and went elsewhere. */
  onRedispatch?: (event: RedispatchEvent) => void;
  /** Called when a lap that peers took part in was combined. */
  onLap?: (lapMs: number) => void;
  timeline?: Timeline | undefined;
  clock?: Clock;
}

export interface RedispatchEvent {
  peerId: string;
  layer: number;
  rows: number;
  error: LapError;
  /** The peers that did the work in the end; null is the coordinator. */
  to: (string | null)[];
  tookMs: number;
}

/** What a pass asks for besides its sums. */
export interface BatchOptions {
  /** The pass that the laps belong to, for the timeline. */
  pass?: PassName | undefined;
  /** Called for each row when its lap is combined. */
  trace?: TraceSink | undefined;
  /** The number of peers that a row may use in a layer (device-limited routing), or undefined for no limit. */
  maxPeers?: ((row: number) => number | undefined) | undefined;
  /** Called for each row and layer whose choice was made under a limit. */
  onLimited?: ((row: number, changed: boolean) => void) | undefined;
}

export type TraceSink = (row: number, trace: LapTrace) => void;

/** The coordinator's own work is worth more of a wait than a replica's: everybody waits for its processor. */
const OWN_WORK = { factor: 4, leastMs: 250 };

/** What is kept over the laps of one pass. */
interface Pass {
  name: PassName | undefined;
  trace: TraceSink | undefined;
  /** The micro-batch's rows that a peer has worked for already. */
  helped: Map<LapPeer, Set<number>>;
}

/** One call on its way. */
interface Lap {
  call: MoeCall;
  pass: Pass;
  /** The coordinator holds the layer by plan. */
  isLocal: boolean;
  /** All of the call, its rows rounded. */
  work: RowSource;
}

type PeerPart = Part & { peer: LapPeer };

interface PeerAnswer {
  answer: LapAnswer;
  by: LapPeer;
}

interface PartResult extends RowParts, Part {
  timing: LapTiming | null;
}

/**
 * Sends each MoE layer's rows to the peers that hold their experts and adds up the answers: one frame per peer and lap,
 * one partial sum per row. What a peer fails to answer goes to a replica, and what no peer holds to the coordinator.
 */
export class Dispatcher {
  readonly figures: LapFigures;
  readonly #options: DispatcherOptions;
  readonly #clock: Clock;
  readonly #splitter: LapSplitter;
  readonly #hedgeBudget = new HedgeBudget();

  constructor(options: DispatcherOptions) {
    this.#options = options;
    this.figures = new LapFigures(options.nRoutedExperts);
    this.#clock = options.clock ?? systemClock;
    this.#splitter = new LapSplitter(options.peers);
  }

  /** The routed experts for the laps of one pass. */
  batch(options: BatchOptions = {}): ExpertDispatch {
    const pass: Pass = { name: options.pass, trace: options.trace, helped: new Map() };
    const dispatch: ExpertDispatch['dispatch'] = (call) => this.#dispatch(call, pass);
    const { maxPeers, onLimited } = options;
    if (maxPeers === undefined) return { dispatch };
    return {
      dispatch,
      choose: (layer, row, scores, allowed) => {
        const limit = maxPeers(row);
        if (limit === undefined || this.#isLocal(layer)) return undefined;
        const { numExpertsPerTok } = this.#options;
        const limits = { maxPeers: limit, numExpertsPerTok };
        const { topkIdx, changed } = this.#splitter.limited(layer, limits, scores, allowed);
        this.figures.limitedChoices++;
        if (changed) this.figures.changedChoices++;
        onLimited?.(row, changed);
        return topkIdx;
      },
    };
  }

  #dispatch(call: MoeCall, pass: Pass): { combine(): Promise<Float32Array> } {
    const startedMs = this.#clock.now();
    const lap = this.#begin(call, pass);
    this.figures.countExperts(call.layer, call.topkIdx);
    if (!lap.isLocal) this.#options.onDispatch?.(call, lap.work.rows);
    const parts = this.#split(lap, [...call.topkIdx.keys()]).flatMap((part) => inFrames(call, part));
    const work = Promise.all(parts.map((part) => this.#serve(lap, part, new Set())));
    // combine() reports a failure; without this, one before it is called would count as unhandled.
    work.catch(() => undefined);
    return {
      combine: async () => {
        const results = await this.#withoutLies(lap, (await work).flat());
        this.#finish(lap, results, this.#clock.now() - startedMs);
        return sumParts(results, call.numRows, this.#options.hiddenSize);
      },
    };
  }

  /** Rounds the rows, once for all that compute with them. Those that never travel keep what f16 keeps. */
  #begin(call: MoeCall, pass: Pass): Lap {
    const { hiddenSize, rowFormat = 'f16' } = this.#options;
    const { layer, numRows, topkIdx: experts, topkWeights: weights } = call;
    const isLocal = this.#isLocal(layer);
    const rows = itemRows(isLocal ? 'f16' : rowFormat, call.x.subarray(0, numRows * hiddenSize), hiddenSize);
    const rowEnd = uniformRowEnd(numRows, experts.length / numRows);
    return { call, pass, isLocal, work: { layer, numRows, ...rows, rowEnd, experts, weights } };
  }

  #split({ call, isLocal }: Lap, assignments: readonly number[], tried: ReadonlySet<LapPeer> = new Set()): Part[] {
    if (isLocal) return [{ peer: null, assignments: [...assignments] }];
    return this.#splitter.split(call, assignments, tried);
  }

  /** Splits these assignments anew, over peers that were not tried. */
  async #serveAgain(lap: Lap, assignments: readonly number[], tried: ReadonlySet<LapPeer>): Promise<PartResult[]> {
    const parts = this.#split(lap, assignments, tried);
    return (await Promise.all(parts.map((part) => this.#serve(lap, part, new Set(tried))))).flat();
  }

  /** Recomputes parts from peers that were quarantined after they answered. */
  async #withoutLies(lap: Lap, results: PartResult[]): Promise<PartResult[]> {
    const lies = results.filter(({ peer }) => peer !== null && !peer.believed);
    if (lies.length === 0) return results;
    const again = lies.map(({ peer, assignments }) => this.#serveAgain(lap, assignments, new Set([peer!])));
    const rest = results.filter((result) => !lies.includes(result));
    return this.#withoutLies(lap, [...rest, ...(await Promise.all(again)).flat()]);
  }

  async #serve(lap: Lap, { peer, assignments }: Part, tried: Set<LapPeer>): Promise<PartResult[]> {
    const { item, picked: rows } = pickAssignments(lap.work, assignments);
    if (peer === null) {
      return [{ rows, partial: await this.#computeLocally(lap, item), peer, assignments, timing: null }];
    }
    const part = { peer, assignments };
    const asResult = ({ answer, by }: PeerAnswer): PartResult[] => [
      { rows, partial: answer.partial, peer: by, assignments, timing: answer.timing },
    ];
    try {
      if (peer.laps.trial !== undefined) return await this.#askOnTrial(lap, item, part, tried, asResult);
      return asResult(await this.#askHedged(lap, item, part, tried));
    } catch (error) {
      // A row that overflows f16 can't be sent. It is computed here; at worst its own sequence ends.
      if (error instanceof FrameError) return this.#serve(lap, { peer: null, assignments }, tried);
      if (!(error instanceof LapError)) throw error;
      return this.#redispatch(lap, part, tried, error);
    }
  }

  async #computeLocally({ isLocal, pass }: Lap, item: WorkItem): Promise<Uint16Array | Float32Array> {
    const { local, localLayers, mtpLayer, timeline, hiddenSize } = this.#options;
    const startedMs = this.#clock.now();
    const sums = await (isLocal ? localLayers!.work : local).compute(item);
    const partial = asSent(sums, item.int8 ? 'int8' : 'f16', hiddenSize);
    const times = { startedMs, endedMs: this.#clock.now() };
    timeline?.localExperts({ layer: item.layer, rows: item.numRows, ...times }, pass.name);
    if (isLocal && item.layer === mtpLayer) this.figures.draftAssignments += item.experts.length;
    else if (isLocal) this.figures.localLayerAssignments += item.experts.length;
    return partial;
  }

  /** The peer's answer, or that of a replica that was asked because the peer was late. */
  async #askHedged(
    lap: Lap,
    item: WorkItem,
    { peer, assignments }: PeerPart,
    tried: ReadonlySet<LapPeer>,
  ): Promise<PeerAnswer> {
    this.figures.asks++;
    this.#hedgeBudget.earn();
    const replica = (): Attempt<PeerAnswer> | undefined => {
      const [only, ...more] = this.#split(lap, assignments, new Set([...tried, peer]));
      const other = only?.peer ?? null;
      // Only another peer that can do all of it: a hedge saves waiting, and the coordinator's own work doesn't.
      if (other === null || more.length > 0 || !this.#hedgeBudget.take()) return undefined;
      this.figures.hedges++;
      return this.#ask(lap, item, other);
    };
    const afterMs = peer.laps.hedgeAfterMs(item.numRows);
    return hedge(this.#ask(lap, item, peer), afterMs, replica, this.#clock);
  }

  /**
   * The answer of a peer on trial or, unless it comes soon, that of others or the coordinator's own: no stream waits for a peer
   * that may never answer. The peer's lap is not given up for that, so that its answer, or its deadline, tells what it is worth.
   */
  #askOnTrial(
    lap: Lap,
    item: WorkItem,
    { peer, assignments }: PeerPart,
    tried: ReadonlySet<LapPeer>,
    asResult: (answer: PeerAnswer) => PartResult[],
  ): Promise<PartResult[]> {
    const others = new Set([...tried, peer]);
    const afterMs = this.#trialMs(item, peer, this.#split(lap, assignments, others));
    let isServed = false;
    const asked = this.#ask(lap, item, peer, () => !isServed);
    const own = { result: asked.result.then(asResult), cancel: () => {} };
    const replacement = (): Attempt<PartResult[]> => {
      this.figures.trials++;
      return { result: this.#serveAgain(lap, assignments, others), cancel: () => {} };
    };
    return hedge(own, afterMs, replacement, this.#clock).finally(() => (isServed = true));
  }

  /**
   * How long to wait for a peer on trial: as long as it usually takes, in its tests if in nothing else, but no longer than for
   * the peers that would replace it; if it is untried, not at all.
   */
  #trialMs({ numRows }: WorkItem, { laps }: LapPeer, replacements: readonly Part[]): number {
    const ownMs = laps.hedgeAfterMs(numRows);
    if (replacements.some(({ peer }) => peer === null)) return Math.max(OWN_WORK.leastMs, OWN_WORK.factor * ownMs);
    if (laps.trial === 'untried') return 0;
    return Math.min(ownMs, Math.max(...replacements.map(({ peer }) => peer!.laps.hedgeAfterMs(numRows))));
  }

  /** `isWanted`: whether an answer that comes now would still be used. */
  #ask({ pass }: Lap, item: WorkItem, peer: LapPeer, isWanted = (): boolean => true): Attempt<PeerAnswer> {
    const { timeline } = this.#options;
    const onEnd = timeline && ((event: LapEvent) => timeline.lap(event, peer.peerId, pass.name));
    const { result, cancel } = peer.laps.attempt(item, { meter: this.figures, onEnd });
    const accepted = result.then((answer) => {
      if (!isWanted()) throw new LapError('cancelled', 'another peer has answered the lap');
      if (peer.accepts(item, answer.partial)) return { answer, by: peer };
      throw new LapError('wrong', 'the answer cannot be right');
    });
    return { result: accepted, cancel };
  }

  async #redispatch(
    lap: Lap,
    { peer, assignments }: PeerPart,
    tried: Set<LapPeer>,
    error: LapError,
  ): Promise<PartResult[]> {
    const startedMs = this.#clock.now();
    tried.add(peer);
    this.figures.redispatches++;
    const results = await this.#serveAgain(lap, assignments, tried);
    this.#options.onRedispatch?.({
      peerId: peer.peerId,
      layer: lap.call.layer,
      rows: distinctRows(results),
      error,
      to: [...new Set(results.map((result) => result.peer?.peerId ?? null))],
      tookMs: this.#clock.now() - startedMs,
    });
    return results;
  }

  #finish(lap: Lap, results: readonly PartResult[], lapMs: number): void {
    const { figures } = this;
    if (!lap.isLocal) figures.laps++;
    else if (lap.call.layer !== this.#options.mtpLayer) figures.localLayerMs.add(lapMs);
    const byPeers = results.filter(({ peer }) => peer !== null);
    // Counted once it is used: what was computed twice counts once.
    for (const { peer, assignments } of lap.isLocal ? [] : results) {
      if (peer === null) figures.fallbackAssignments += assignments.length;
      else figures.tabAssignments += assignments.length;
    }
    for (const { peer, rows } of byPeers) creditTokens(lap.pass, peer!, rows);
    figures.tabRows += distinctRows(byPeers);
    figures.tabRowParts += byPeers.reduce((sum, { rows }) => sum + rows.length, 0);
    // The lap ends with its slowest peer, whose split is therefore the lap's.
    let slowest: LapTiming | undefined;
    for (const { timing } of byPeers) if (timing && timing.lapMs > (slowest?.lapMs ?? 0)) slowest = timing;
    if (slowest) {
      this.#options.onLap?.(lapMs);
      figures.addLap(lapMs, slowest);
    }
    if (lap.pass.trace) traceRows(lap, results, lapMs, lap.pass.trace);
  }

  #isLocal(layer: number): boolean {
    return this.#options.localLayers?.layers.has(layer) ?? false;
  }
}

const distinctRows = (parts: readonly RowParts[]): number => new Set(parts.flatMap(({ rows }) => rows)).size;

function traceRows({ call, isLocal }: Lap, results: readonly PartResult[], lapMs: number, trace: TraceSink): void {
  const { layer, numRows, topkIdx, topkWeights } = call;
  const topK = topkIdx.length / numRows;
  const peerOf = new Map<number, string | null>();
  for (const { peer, assignments } of results) for (const a of assignments) peerOf.set(a, peer?.peerId ?? null);
  for (let row = 0; row < numRows; row++) {
    const experts = Array.from({ length: topK }, (_, k) => {
      const a = row * topK + k;
      return { expert: topkIdx[a]!, weight: topkWeights[a]!, peerId: peerOf.get(a) ?? null };
    });
    trace(row, { layer, lapMs, experts, ...(isLocal && { resident: true }) });
  }
}

function creditTokens(pass: Pass, peer: LapPeer, rows: readonly number[]): void {
  let seen = pass.helped.get(peer);
  if (seen === undefined) pass.helped.set(peer, (seen = new Set()));
  const before = seen.size;
  for (const row of rows) seen.add(row);
  peer.helped(seen.size - before);
}
