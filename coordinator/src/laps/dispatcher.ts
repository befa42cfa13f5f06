import {
  assignmentsOfCall,
  type ExpertDispatch,
  type MoeCall,
  pickAssignments,
  type RowSource,
  type WorkItem,
} from '@shoal/model';
import { FrameError, itemRows, roundedRows, type RowFormat } from '@shoal/protocol';
import { type Clock, systemClock } from '../base/clock.ts';
import type { LocalCompute } from '../local-experts/local-compute.ts';
import type { LapEvent, PassName, Timeline } from '../timeline/timeline.ts';
import { countAdapted, itemAdaptersOf } from './adapted.ts';
import type { BatchOptions, TraceSink } from './batch-options.ts';
import { type Attempt, hedge, HedgeBudget } from './hedge.ts';
import { LapCost } from './lap-cost.ts';
import type { LapAttempt, LapClient } from './lap-client.ts';
import { type LapAnswer, LapError, type LapTiming, type RedispatchEvent } from './lap.ts';
import { LapFigures } from './lap-figures.ts';
import { assignmentsOf, bySums, finiteRows, hasAssignments, othersThan, rowsOf, someHasSum } from './finite-rows.ts';
import { inFrames, type LapPeer, LapSplitter, type Part } from './lap-splitter.ts';
import { standInMs, trialMs } from './patience.ts';
import { type RowParts, sumParts } from './row-sums.ts';

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
  /** Called when a lap begins, with all of its rows, and which of them are asked for: they are finite and have experts. */
  onDispatch?: (work: RowSource, asked: readonly number[]) => void;
  /** Called when a lap failed and went elsewhere. */
  onRedispatch?: (event: RedispatchEvent) => void;
  /** Called when a lap that peers took part in was combined. */
  onLap?: (lapMs: number) => void;
  timeline?: Timeline | undefined;
  clock?: Clock;
}

export type { BatchOptions } from './batch-options.ts';

/** What is kept over the laps of one pass. */
interface Pass extends Pick<BatchOptions, 'trace' | 'adapters'> {
  name: PassName | undefined;
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
  /** Its rows with finite values and weights. The others get NaN, and are sent to no tab. */
  finite: readonly number[];
  /** Whether what is asked for it has been done by others meanwhile. */
  isOver?: () => boolean;
}

type PeerPart = Part & { peer: LapPeer };

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
  /** What the coordinator's own work on laps costs. */
  readonly #ownCost = new LapCost();

  constructor(options: DispatcherOptions) {
    this.#options = options;
    this.figures = new LapFigures(options.nRoutedExperts);
    this.#clock = options.clock ?? systemClock;
    this.#splitter = new LapSplitter(options.peers);
  }

  /** The routed experts for the laps of one pass. */
  batch(options: BatchOptions = {}): ExpertDispatch {
    const { pass: name, trace, adapters } = options;
    const pass: Pass = { name, trace, adapters, helped: new Map() };
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
    this.figures.countExperts(lap.work);
    const rows = lap.finite.filter((row) => hasAssignments(lap.work, row));
    if (!lap.isLocal) this.#options.onDispatch?.(lap.work, rows);
    const asked = rows.flatMap((row) => assignmentsOf(lap.work, row));
    const parts = this.#split(lap, asked).flatMap((part) => inFrames(lap.work, part));
    const work = Promise.all(parts.map((part) => this.#serve(lap, part, new Set())));
    // combine() reports a failure; without this, one before it is called would count as unhandled.
    work.catch(() => undefined);
    return {
      combine: async () => {
        const results = await this.#withoutLies(lap, (await work).flat());
        this.#finish(lap, results, this.#clock.now() - startedMs);
        const { hiddenSize } = this.#options;
        const sums = sumParts(results, call.numRows, hiddenSize);
        for (const row of othersThan(lap.finite, call.numRows))
          sums.fill(Number.NaN, row * hiddenSize, (row + 1) * hiddenSize);
        return sums;
      },
    };
  }

  /** Rounds the rows, once for all that compute with them. Those that never travel keep what f16 keeps. */
  #begin(call: MoeCall, pass: Pass): Lap {
    const { hiddenSize, rowFormat = 'f16' } = this.#options;
    const { layer, numRows } = call;
    const isLocal = this.#isLocal(layer);
    const x = call.x.subarray(0, numRows * hiddenSize);
    const rows = itemRows(isLocal ? 'f16' : rowFormat, x, hiddenSize);
    const assigned = { layer, ...assignmentsOfCall(call) };
    const work = { ...assigned, ...rows, adapters: itemAdaptersOf(assigned, pass.adapters) };
    return { call, pass, isLocal, work, finite: finiteRows(x, work) };
  }

  #split({ isLocal, work }: Lap, assignments: readonly number[], tried: ReadonlySet<LapPeer> = new Set()): Part[] {
    if (assignments.length === 0) return [];
    if (isLocal) return [{ peer: null, assignments: [...assignments] }];
    return this.#splitter.split(work, assignments, tried);
  }

  /** Splits these assignments anew, over peers that were not tried. */
  async #serveAgain(lap: Lap, assignments: readonly number[], tried: ReadonlySet<LapPeer>): Promise<PartResult[]> {
    return this.#serveAll(lap, this.#split(lap, assignments, tried), tried);
  }

  async #serveAll(lap: Lap, parts: readonly Part[], tried: ReadonlySet<LapPeer>): Promise<PartResult[]> {
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
    try {
      return await this.#askHelped(lap, item, { ...part, rows }, tried);
    } catch (error) {
      if (lap.isOver?.()) throw error;
      // Rows that are too wide for one frame are computed here.
      if (error instanceof FrameError) return this.#serve(lap, { peer: null, assignments }, tried);
      if (!(error instanceof LapError)) throw error;
      return this.#redispatch(lap, part, tried, error);
    }
  }

  /** Sums as a peer would send them, so that an answer doesn't depend on where it was computed; NaN and ∞ stay. */
  async #computeLocally({ isLocal, pass }: Lap, item: WorkItem): Promise<Float32Array> {
    const { local, localLayers, mtpLayer, timeline, hiddenSize } = this.#options;
    const startedMs = this.#clock.now();
    const sums = await (isLocal ? localLayers!.work : local).compute(item);
    const partial = roundedRows(item.int8 ? 'int8' : 'f16', sums, hiddenSize);
    const times = { startedMs, endedMs: this.#clock.now() };
    const tookMs = times.endedMs - startedMs;
    if (!isLocal) this.#ownCost.add(item.experts.length, tookMs, tookMs);
    timeline?.localExperts({ layer: item.layer, rows: item.numRows, ...times }, pass.name);
    if (isLocal && item.layer === mtpLayer) this.figures.draftAssignments += item.experts.length;
    else if (isLocal) this.figures.localLayerAssignments += item.experts.length;
    return partial;
  }

  /**
   * The peer's answer or, if it is late, that of others, or the coordinator's own: no stream waits for a peer that may never
   * answer. What the peer was asked is not taken back, so that its answer, or its deadline, tells what it is worth.
   */
  #askHelped(
    lap: Lap,
    item: WorkItem,
    { peer, assignments, rows }: PeerPart & { rows: number[] },
    tried: ReadonlySet<LapPeer>,
  ): Promise<PartResult[]> {
    const { trial } = peer.laps;
    if (trial === undefined) this.#earnHedge();
    const others = new Set([...tried, peer]);
    let isServed = false;
    const within: Lap = { ...lap, isOver: () => isServed || (lap.isOver?.() ?? false) };
    const afterMs = trial
      ? trialMs(item, peer, trial, this.#split(lap, assignments, others))
      : peer.laps.hedgeAfterMs(item.numRows);
    const comesAfterMs = standInMs(item, peer, this.#ownCost);
    const { result, overtaken } = this.#ask(within, item, peer);
    let isAnswered = false;
    const own = result.then((answer) => {
      isAnswered = true;
      return this.#partsOf(within, item, { peer, assignments, rows }, answer, tried);
    });
    // What an answer leaves open is asked anew, with timers of its own.
    const replicas = (): Attempt<PartResult[]> | undefined => {
      if (isAnswered) return undefined;
      const parts = this.#split(lap, assignments, others);
      if (parts.some((part) => part.peer === null) || !this.#mayHedge(trial)) return undefined;
      return { result: this.#serveAll(within, parts, others), lost: () => {} };
    };
    const standIn = (): Attempt<PartResult[]> | undefined => {
      if (isAnswered) return undefined;
      this.figures.standIns++;
      return { result: this.#serve(within, { peer: null, assignments }, others), lost: () => {} };
    };
    const byPeers = hedge({ result: own, lost: () => overtaken('peer') }, afterMs, replicas, this.#clock);
    const byAll = hedge({ result: byPeers, lost: () => overtaken('coordinator') }, comesAfterMs, standIn, this.#clock);
    return byAll.finally(() => (isServed = true));
  }

  #earnHedge(): void {
    this.figures.asks++;
    this.#hedgeBudget.earn();
  }

  /** Hedges of known peers are bounded by a budget; a peer on trial gets one lap at a time. */
  #mayHedge(trial: LapClient['trial']): boolean {
    if (trial === undefined && !this.#hedgeBudget.take()) return false;
    if (trial === undefined) this.figures.hedges++;
    else this.figures.trials++;
    return true;
  }

  #ask(lap: Lap, item: WorkItem, peer: LapPeer): LapAttempt {
    const { timeline } = this.#options;
    const onEnd = timeline && ((event: LapEvent) => timeline.lap(event, peer.peerId, lap.pass.name));
    const { result, overtaken } = peer.laps.attempt(item, { meter: this.figures, onEnd });
    const accepted = result.then((answer) => {
      if (lap.isOver?.()) throw new LapError('cancelled', 'another has done its work meanwhile');
      if (this.#accepts(peer, item, answer.partial)) return answer;
      throw new LapError('wrong', 'the answer cannot be right');
    });
    return { result: accepted, overtaken };
  }

  /** Whether the rows of the answer that have sums may be used. */
  #accepts(peer: LapPeer, item: WorkItem, partial: Float32Array): boolean {
    const { summed, without } = bySums(partial, item.numRows);
    if (without.length === 0) return peer.accepts(item, partial);
    if (summed.length === 0) return true;
    const part = pickAssignments(
      item,
      summed.flatMap((row) => assignmentsOf(item, row)),
    );
    return peer.accepts(part.item, rowsOf(partial, summed, this.#options.hiddenSize));
  }

  /**
   * The parts of a peer's answer. The rows that have no finite sum, as the peer says, are asked of others once, and then
   * computed here: at worst their own sequences end. If they have one, the peer has withheld it.
   */
  async #partsOf(
    lap: Lap,
    item: WorkItem,
    { peer, assignments, rows }: PeerPart & { rows: number[] },
    answer: LapAnswer,
    tried: ReadonlySet<LapPeer>,
  ): Promise<PartResult[]> {
    const { partial, timing } = answer;
    const { summed, without } = bySums(partial, item.numRows);
    if (without.length === 0) return [{ rows, partial, peer, assignments, timing }];
    const part = (of: readonly number[]) => ({
      rows: of.map((row) => rows[row]!),
      assignments: of.flatMap((row) => assignmentsOf(item, row)).map((a) => assignments[a]!),
    });
    const own = { ...part(summed), partial: rowsOf(partial, summed, this.#options.hiddenSize), peer, timing };
    const open = part(without);
    const others = await (tried.size === 0
      ? this.#serveAgain(lap, open.assignments, new Set([peer]))
      : this.#serve(lap, { ...open, peer: null }, new Set()));
    peer.laps.checked(answer, someHasSum(open.rows, others));
    return summed.length === 0 ? others : [own, ...others];
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
      const [tab, fallback] = peer === null ? [0, assignments.length] : [assignments.length, 0];
      figures.tabAssignments += tab;
      figures.fallbackAssignments += fallback;
      countAdapted(figures, lap.work.adapters, { peer, assignments });
    }
    for (const { peer, rows } of byPeers) creditTokens(lap.pass, peer!, rows);
    figures.tabRows += distinctRows(byPeers);
    figures.tabRowParts += byPeers.reduce((sum, { rows }) => sum + rows.length, 0);
    // The lap ends with its slowest peer, whose split is therefore the lap's.
    let slowest: LapTiming | undefined;
    for (const { timing } of byPeers) if (timing && timing.lapMs > (slowest?.lapMs ?? 0)) slowest = timing;
    if (slowest) {
      this.#options.onLap?.(lapMs);
      figures.addLap(
        lapMs,
        results.reduce((sum, { assignments }) => sum + assignments.length, 0),
        slowest,
      );
    }
    if (lap.pass.trace) traceRows(lap, results, lapMs, lap.pass.trace);
  }

  #isLocal(layer: number): boolean {
    return this.#options.localLayers?.layers.has(layer) ?? false;
  }
}

const distinctRows = (parts: readonly RowParts[]): number => new Set(parts.flatMap(({ rows }) => rows)).size;

function traceRows({ work, isLocal }: Lap, results: readonly PartResult[], lapMs: number, trace: TraceSink): void {
  const { layer, numRows } = work;
  const peerOf = new Map<number, string | null>();
  for (const { peer, assignments } of results) for (const a of assignments) peerOf.set(a, peer?.peerId ?? null);
  for (let row = 0; row < numRows; row++) {
    const experts = assignmentsOf(work, row).map((a) => ({
      expert: work.experts[a]!,
      weight: work.weights[a]!,
      peerId: peerOf.get(a) ?? null,
    }));
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
