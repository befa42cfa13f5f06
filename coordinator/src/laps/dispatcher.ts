import { type ExpertDispatch, type MoeCall, pickAssignments, uniformRowEnd, type WorkItem } from '@shoal/model';
import { FrameError, type RowFormat, roundRows } from '@shoal/protocol';
import type { LapTrace } from '../scheduler/generation.ts';
import { type Clock, systemClock } from '../base/clock.ts';
import { LapFigures } from './lap-figures.ts';
import { type Attempt, hedge, HedgeBudget } from './hedge.ts';
import { type LapAnswer, LapError } from './lap.ts';
import { inFrames, type LapPeer, LapSplitter, type Part } from './lap-splitter.ts';
import type { LapTiming } from '../base/sample-window.ts';
import type { LapEvent, PassName, Timeline } from '../timeline/timeline.ts';
import type { LocalCompute } from '../local-experts/compute.ts';
import { asSent, type RowParts, sumParts } from './row-sums.ts';

export interface DispatcherOptions {
  hiddenSize: number;
  nRoutedExperts: number;
  numExpertsPerTok: number;
  /** What rows and sums are rounded to, whoever computes; f16 by default. */
  rowFormat?: RowFormat;
  local: LocalCompute;
  /** Layers whose experts are all the coordinator's own, and who computes them: no tab is asked, and no lap is made. */
  localLayers?: { layers: ReadonlySet<number>; work: LocalCompute };
  /** The layer of the model's MTP module, whose rows draft tokens and enter no answer. */
  mtpLayer?: number | undefined;
  /** The peers that may be asked now, in a stable order. */
  peers: () => Iterable<LapPeer>;
  /** A lap begins: the call, and its rows as f16 bits, [numRows, hiddenSize]. */
  onDispatch?: (call: MoeCall, rows: Uint16Array) => void;
  /** A lap failed and went elsewhere: for the event log. */
  onRedispatch?: (event: RedispatchEvent) => void;
  /** A lap that tabs took part in was combined. */
  onLap?: (lapMs: number) => void;
  timeline?: Timeline | undefined;
  clock?: Clock;
}

export interface RedispatchEvent {
  peerId: string;
  layer: number;
  rows: number;
  error: LapError;
  /** Who did the work in the end; null is the coordinator. */
  to: (string | null)[];
  tookMs: number;
}

/** A call that knows whose it is. */
interface NamedCall extends MoeCall {
  by?: PassName | undefined;
}

interface PartResult extends RowParts {
  peer: LapPeer | null;
  assignments: number[];
  timing: LapTiming | null;
}

/** What a pass asks besides its sums. */
export interface BatchOptions {
  /** Whose laps they are, for the timeline. */
  pass?: PassName | undefined;
  /** Told of each row's laps when they are combined. */
  trace?: TraceSink | undefined;
  /** Tabs that a row may use in a layer (device-limited routing); undefined: as many as the gate's choice takes. */
  maxPeers?: ((row: number) => number | undefined) | undefined;
  /** Told of each row and layer whose choice was made under a limit, and whether the limit changed it. */
  onLimited?: ((row: number, changed: boolean) => void) | undefined;
}

/** What is kept over the laps of one forward pass. */
interface Pass {
  name: PassName | undefined;
  trace: TraceSink | undefined;
  /** The batch's rows that a peer has worked for already. */
  helped: Map<LapPeer, Set<number>>;
}

/** Called for each row of a traced call when its lap is combined. */
export type TraceSink = (row: number, trace: LapTrace) => void;

/**
 * Sends each MoE layer's rows to the peers that hold their experts and adds up what comes back: one frame per peer and
 * lap, one partial sum per row. What a peer fails to answer goes to a replica, and what no peer holds to the coordinator.
 */
export class Dispatcher extends LapFigures {
  readonly #options: DispatcherOptions;
  readonly #clock: Clock;
  readonly #rowFormat: RowFormat;
  readonly #planner: LapSplitter;
  readonly #hedging = new HedgeBudget();

  constructor(options: DispatcherOptions) {
    super();
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#rowFormat = options.rowFormat ?? 'f16';
    this.#planner = new LapSplitter(options.peers);
  }

  /** Parts of laps that one tab each was asked for, hedges not counted. */
  get asks(): number {
    return this.#hedging.laps;
  }

  /** Laps that a replica was asked for as well, because the first peer was late. */
  get hedges(): number {
    return this.#hedging.hedges;
  }

  /** The routed experts for one batch. */
  batch(options: BatchOptions = {}): ExpertDispatch {
    const pass: Pass = { name: options.pass, trace: options.trace, helped: new Map() };
    const dispatch: ExpertDispatch['dispatch'] = (call) => this.#dispatch({ ...call, by: pass.name }, pass);
    const { maxPeers, onLimited } = options;
    if (maxPeers === undefined) return { dispatch };
    return {
      dispatch,
      choose: (layer, row, scores, allowed) => {
        const limit = maxPeers(row);
        if (limit === undefined || this.#isLocal(layer)) return undefined;
        const { numExpertsPerTok } = this.#options;
        const { topkIdx, changed } = this.#planner.limited(
          layer,
          { maxPeers: limit, numExpertsPerTok },
          scores,
          allowed,
        );
        this.limitedChoices++;
        if (changed) this.changedChoices++;
        onLimited?.(row, changed);
        return topkIdx;
      },
    };
  }

  #dispatch(call: NamedCall, pass: Pass): { combine(): Promise<Float32Array> } {
    const startedMs = this.#clock.now();
    const { hiddenSize } = this.#options;
    const x = call.x.subarray(0, call.numRows * hiddenSize);
    const rows = roundRows(this.#formatOf(call.layer), x, hiddenSize);
    this.countLoad(call, this.#options.nRoutedExperts);
    if (!this.#isLocal(call.layer)) this.#options.onDispatch?.(call, rows);
    const all = [...call.topkIdx.keys()];
    const parts = this.#plan(call, all, new Set()).flatMap((part) => inFrames(call, part));
    const work = Promise.all(parts.map((part) => this.#serve(call, rows, part, new Set())));
    // combine() reports the failure; without this, one before it is called would count as unhandled.
    work.catch(() => undefined);
    return {
      combine: async () => {
        const results = await this.#withoutLies(call, rows, (await work).flat());
        this.#finish(call, results, this.#clock.now() - startedMs, pass);
        return sumParts(results, call.numRows, this.#options.hiddenSize);
      },
    };
  }

  /** A peer may be found out between its answer and the sum: others do its part again. */
  async #withoutLies(call: MoeCall, rows: Uint16Array, results: PartResult[]): Promise<PartResult[]> {
    const lies = results.filter(({ peer }) => peer !== null && !peer.believed);
    if (lies.length === 0) return results;
    const again = lies.map(async ({ peer, assignments }) => {
      this.tabAssignments -= assignments.length;
      const tried = new Set([peer!]);
      const parts = this.#plan(call, assignments, tried);
      return (await Promise.all(parts.map((part) => this.#serve(call, rows, part, new Set(tried))))).flat();
    });
    const rest = results.filter((result) => !lies.includes(result));
    return this.#withoutLies(call, rows, [...rest, ...(await Promise.all(again)).flat()]);
  }

  /** Who does which of these assignments; of a resident layer the coordinator does all. */
  #plan(call: MoeCall, assignments: readonly number[], tried: ReadonlySet<LapPeer>): Part[] {
    if (this.#isLocal(call.layer)) return [{ peer: null, assignments: [...assignments] }];
    return this.#planner.plan(call, assignments, tried);
  }

  async #serve(call: NamedCall, rows: Uint16Array, part: Part, tried: Set<LapPeer>): Promise<PartResult[]> {
    const { peer, assignments } = part;
    const { item: request, picked: callRows } = pickAssignments(workOf(call, rows), assignments);
    if (peer === null) {
      const { local, localLayers } = this.#options;
      const own = this.#isLocal(call.layer) ? localLayers!.work : local;
      const startedMs = this.#clock.now();
      const partial = asSent(await own.compute(request), this.#formatOf(call.layer), this.#options.hiddenSize);
      const times = { startedMs, endedMs: this.#clock.now() };
      this.#options.timeline?.localExperts({ layer: call.layer, rows: request.numRows, ...times }, call.by);
      this.#countLocal(call.layer, assignments.length);
      return [{ rows: callRows, partial, peer: null, assignments, timing: null }];
    }
    try {
      const { answer, by } = await this.#askHedged(call, request, { ...part, peer }, tried);
      this.tabAssignments += assignments.length;
      return [{ rows: callRows, partial: answer.partial, peer: by, assignments, timing: answer.timing }];
    } catch (error) {
      // A row that f16 cannot hold: nobody may be sent it, and only its own sequence ends by it.
      if (error instanceof FrameError) return this.#serve(call, rows, { peer: null, assignments }, tried);
      if (!(error instanceof LapError)) throw error;
      return this.#redispatch(call, rows, { ...part, peer }, tried, error);
    }
  }

  /** One peer's answer, or that of a replica which was asked because the first was late. */
  async #askHedged(
    call: NamedCall,
    request: WorkItem,
    part: Part & { peer: LapPeer },
    tried: ReadonlySet<LapPeer>,
  ): Promise<{ answer: LapAnswer; by: LapPeer }> {
    this.#hedging.earn();
    const { peer } = part;
    const ask = (asked: LapPeer): Attempt<{ answer: LapAnswer; by: LapPeer }> => {
      const { timeline } = this.#options;
      const onEnd = timeline && ((event: LapEvent) => timeline.lap(event, asked.peerId, call.by));
      const { result, cancel } = asked.laps.attempt(request, { meter: this, onEnd });
      const accepted = result.then((answer) => {
        if (asked.accepts(request, answer.partial)) return { answer, by: asked };
        throw new LapError('wrong', 'the answer cannot be right');
      });
      return { result: accepted, cancel };
    };
    const replica = (): Attempt<{ answer: LapAnswer; by: LapPeer }> | undefined => {
      const [only, ...more] = this.#plan(call, part.assignments, new Set([...tried, peer]));
      const { peer: other } = only ?? { peer: null };
      // Only for another tab that can do all of it: a hedge saves waiting, and the coordinator's own work doesn't.
      return other !== null && more.length === 0 && this.#hedging.take() ? ask(other) : undefined;
    };
    const afterMs = peer.laps.hedgeAfterMs(request.numRows);
    if (afterMs === Number.POSITIVE_INFINITY) return ask(peer).result;
    return (await hedge(ask(peer), afterMs, replica, this.#clock)).value;
  }

  async #redispatch(
    call: MoeCall,
    rows: Uint16Array,
    part: Part & { peer: LapPeer },
    tried: Set<LapPeer>,
    error: LapError,
  ): Promise<PartResult[]> {
    const startedMs = this.#clock.now();
    tried.add(part.peer);
    this.redispatches++;
    const parts = this.#plan(call, part.assignments, tried);
    const results = (await Promise.all(parts.map((next) => this.#serve(call, rows, next, new Set(tried))))).flat();
    this.#options.onRedispatch?.({
      peerId: part.peer.peerId,
      layer: call.layer,
      rows: new Set(results.flatMap((result) => result.rows)).size,
      error,
      to: [...new Set(results.map((result) => result.peer?.peerId ?? null))],
      tookMs: this.#clock.now() - startedMs,
    });
    return results;
  }

  #finish(call: MoeCall, results: readonly PartResult[], lapMs: number, pass: Pass): void {
    if (!this.#isLocal(call.layer)) this.laps++;
    else if (call.layer !== this.#options.mtpLayer) this.localLayerMs.add(lapMs);
    for (const { peer, rows } of results) if (peer) creditTokens(pass, peer, rows);
    const byTabs = results.filter((result) => result.peer !== null);
    this.tabRows += new Set(byTabs.flatMap((result) => result.rows)).size;
    this.tabRowParts += byTabs.reduce((sum, result) => sum + result.rows.length, 0);
    // The lap ends with its slowest peer, so that one's split is the lap's.
    let slowest: LapTiming | undefined;
    for (const { timing } of results) if (timing && timing.lapMs > (slowest?.lapMs ?? 0)) slowest = timing;
    if (slowest) {
      this.#options.onLap?.(lapMs);
      this.lapMs.add(lapMs);
      this.queueMs.add(slowest.queueMs);
      this.computeMs.add(slowest.computeMs);
      this.wireMs.add(slowest.lapMs - slowest.queueMs - slowest.computeMs);
    }
    if (pass.trace) this.#trace(call, results, lapMs, pass.trace);
  }

  #trace(call: MoeCall, results: readonly PartResult[], lapMs: number, trace: TraceSink): void {
    const topK = call.topkIdx.length / call.numRows;
    const peerOf = new Map<number, string | null>();
    for (const result of results) for (const a of result.assignments) peerOf.set(a, result.peer?.peerId ?? null);
    for (let row = 0; row < call.numRows; row++) {
      const experts = Array.from({ length: topK }, (_, k) => {
        const a = row * topK + k;
        return { expert: call.topkIdx[a]!, weight: call.topkWeights[a]!, peerId: peerOf.get(a) ?? null };
      });
      trace(row, { layer: call.layer, lapMs, experts, ...(this.#isLocal(call.layer) && { resident: true }) });
    }
  }

  /** What never travels keeps what f16 keeps. */
  #formatOf(layer: number): RowFormat {
    return this.#isLocal(layer) ? 'f16' : this.#rowFormat;
  }

  #isLocal(layer: number): boolean {
    return this.#options.localLayers?.layers.has(layer) ?? false;
  }

  #countLocal(layer: number, assignments: number): void {
    if (!this.#isLocal(layer)) this.fallbackAssignments += assignments;
    else if (layer === this.#options.mtpLayer) this.draftAssignments += assignments;
    else this.localLayerAssignments += assignments;
  }
}

/** All of a call, its rows as f16 bits. */
function workOf({ layer, numRows, topkIdx: experts, topkWeights: weights }: MoeCall, rows: Uint16Array) {
  return { layer, numRows, rows, rowEnd: uniformRowEnd(numRows, experts.length / numRows), experts, weights };
}

function creditTokens(pass: Pass, peer: LapPeer, rows: readonly number[]): void {
  let seen = pass.helped.get(peer);
  if (seen === undefined) pass.helped.set(peer, (seen = new Set()));
  const before = seen.size;
  for (const row of rows) seen.add(row);
  peer.helped(seen.size - before);
}
