import { createRng, type Rng } from '@shoal/model';
import { coverRows } from '@shoal/placement';
import { lapConnectionsOf } from '../../../coordinator/src/swarm/lap-connections.ts';
import type { SimDonor } from '../donors.ts';
import { Events } from '../events.ts';
import { GateChoices, type Popularity } from '../gate-choices.ts';
import type { SimModel } from '../models.ts';
import { logNormal } from '../random.ts';
import { partsOf } from '../still.ts';
import { lapFrameBytes, roundTrips } from '../wire-bytes.ts';
import type { Population } from './population.ts';

/** Of every coordinator: dense part of a layer for one micro-batch, on a GPU. An assumption, as in the simulation of churn. */
const DENSE_LAYER_MS = 1;
/** Micro-batches that take turns, as the scheduler's do. */
const MICRO_BATCHES = 2;
/** Passes of each micro-batch before measuring, in which tabs' speeds become known. */
const WARM_UP_PASSES = 2;
/** Weight of the newest lap in a tab's expected time. */
const LEARNING_RATE = 0.25;

export interface LapsOptions {
  coordinators: number;
  /** Of each coordinator. */
  streams: number;
  /** Of each coordinator, each way. */
  lineGbitPerS: number;
  /** Part of each coordinator's line upwards that downloads of weights take. */
  downloadsShare: number;
  passes: number;
  popularity: Popularity;
  seed: number;
}

export interface LapsResult {
  tokensPerSecond: number;
  /** Of one token of a stream. */
  passMs: number;
  /** Mean share of the time that lines and GPUs were busy: of coordinators, and of the tabs that hold something. */
  busy: { coordinatorUp: number; coordinatorDown: number; tabDown: number; tabGpu: number; tabUp: number };
  /** Of a tab, its busiest part: over the busiest tenth of tabs, and of the busiest tab. */
  busiestTabs: number;
  busiestTab: number;
  uncoveredShare: number;
}

/** Something that serves one thing after another. */
class Server {
  #freeAtMs = 0;
  busyMs = 0;

  /** When it has served this, if it arrives now. */
  take(nowMs: number, serviceMs: number): number {
    this.busyMs += serviceMs;
    this.#freeAtMs = Math.max(this.#freeAtMs, nowMs) + serviceMs;
    return this.#freeAtMs;
  }
}

class Tab {
  readonly down = new Server();
  readonly gpu = new Server();
  readonly up = new Server();
  readonly donor: SimDonor;
  /** As its laps have shown so far. */
  perAssignmentMs: number;

  constructor(donor: SimDonor) {
    this.donor = donor;
    this.perAssignmentMs = 1000 / donor.assignmentsPerSecond;
  }

  get fixedMs(): number {
    return this.donor.rttMs + this.donor.lapOverheadMs;
  }

  learn(ms: number, assignments: number): void {
    const seen = Math.max(0, ms - this.fixedMs) / assignments;
    this.perAssignmentMs += LEARNING_RATE * (seen - this.perAssignmentMs);
  }

  get expected() {
    return { standing: 'known' as const, fixedMs: this.fixedMs, perAssignmentMs: this.perAssignmentMs };
  }
}

interface Coordinator {
  up: Server;
  down: Server;
  engine: Server;
}

/** One micro-batch on its way through the layers. */
interface Batch {
  coordinator: Coordinator;
  layer: number;
  passes: number;
  startedMs: number;
  /** Answers that the lap is waiting for. */
  left: number;
  passMs: number[];
}

/**
 * Laps of several coordinators over the same tabs, as queues in virtual time: each line and each GPU serves one frame after
 * another. Which tabs a lap asks is decided as the dispatcher does it; there are no failures, no hedges and no drafts.
 */
export function simulateLaps(model: SimModel, population: Population, options: LapsOptions): LapsResult {
  return new LapSimulation(model, population, options).run();
}

class LapSimulation {
  readonly #model: SimModel;
  readonly #options: LapsOptions;
  readonly #events = new Events<() => void>();
  readonly #rng: Rng;
  readonly #choices: GateChoices;
  readonly #tabs: Tab[];
  /** [numLayers × expertsPerLayer] indices of the tabs that hold each expert. */
  readonly #holders: number[][];
  readonly #batches: Batch[];
  /** Over which a large frame is spread. */
  readonly #connections: number;
  readonly #upBytesPerMs: number;
  readonly #downBytesPerMs: number;
  #nowMs = 0;
  #turn = 0;
  #measuredFromMs: number | undefined;
  #assignments = 0;
  #uncovered = 0;

  constructor(model: SimModel, { tabs }: Population, options: LapsOptions) {
    this.#model = model;
    this.#connections = lapConnectionsOf('auto', model.hiddenSize, 'f16');
    this.#options = options;
    this.#rng = createRng(options.seed);
    this.#choices = new GateChoices(model, options.popularity, createRng(options.seed + 1));
    const holding = tabs.filter(({ held }) => held.length > 0);
    this.#tabs = holding.map(({ donor }) => new Tab(donor));
    this.#holders = Array.from({ length: model.numLayers * model.expertsPerLayer }, () => []);
    for (const [i, { held }] of holding.entries()) for (const expert of held) this.#holders[expert]!.push(i);
    this.#downBytesPerMs = (options.lineGbitPerS * 1e6) / 8;
    this.#upBytesPerMs = this.#downBytesPerMs * Math.max(0.01, 1 - options.downloadsShare);
    this.#batches = Array.from({ length: options.coordinators }, () => {
      const coordinator = { up: new Server(), down: new Server(), engine: new Server() };
      return Array.from({ length: MICRO_BATCHES }, () => {
        return { coordinator, layer: 0, passes: 0, startedMs: 0, left: 0, passMs: [] as number[] };
      });
    }).flat();
  }

  run(): LapsResult {
    for (const batch of this.#batches) this.#at(this.#rng() * 100, () => this.#layer(batch));
    const until = WARM_UP_PASSES + this.#options.passes;
    let busyBefore: ReturnType<LapSimulation['busy']> | undefined;
    while (this.#batches.some(({ passes }) => passes < until)) {
      const next = this.#events.takeUntil(Number.POSITIVE_INFINITY)!;
      this.#nowMs = next.atMs;
      next.event();
      if (busyBefore === undefined && this.#batches.every(({ passes }) => passes >= WARM_UP_PASSES)) {
        this.#measuredFromMs = this.#nowMs;
        this.#assignments = this.#uncovered = 0;
        for (const batch of this.#batches) batch.passMs.length = 0;
        busyBefore = this.busy();
      }
    }
    return this.#result(busyBefore!);
  }

  #at(atMs: number, event: () => void): void {
    this.#events.schedule(Math.max(atMs, this.#nowMs), event);
  }

  get #rows(): number {
    return Math.ceil(this.#options.streams / MICRO_BATCHES);
  }

  #layer(batch: Batch): void {
    const startMs = batch.coordinator.engine.take(this.#nowMs, DENSE_LAYER_MS);
    this.#at(startMs, () => this.#dispatch(batch));
  }

  #dispatch(batch: Batch): void {
    const { topK, expertsPerLayer } = this.#model;
    const experts = Array.from({ length: this.#rows }, () => this.#choices.draw(batch.layer)).flat();
    const rows = experts.map((_, a) => Math.floor(a / topK));
    const turn = this.#turn++;
    const chosen = coverRows(experts, rows, {
      holders: (expert) => this.#holders[batch.layer * expertsPerLayer + expert]!,
      usualMs: (i) => this.#tabs[i]!.fixedMs,
      expected: (i) => this.#tabs[i]!.expected,
      preference: (i) => (i + turn) % this.#tabs.length,
    });
    const parts = partsOf(chosen, rows);
    this.#assignments += experts.length;
    this.#uncovered += parts.get(-1)?.assignments ?? 0;
    parts.delete(-1);
    batch.left = parts.size;
    if (parts.size === 0) return this.#combined(batch);
    for (const [tab, part] of parts) this.#ask(batch, this.#tabs[tab]!, part);
  }

  /** A frame up the coordinator's line, down the tab's, through its GPU, and the answer back. */
  #ask(batch: Batch, tab: Tab, { rows, assignments }: { rows: number; assignments: number }): void {
    const { dispatchBytes, combineBytes } = lapFrameBytes(this.#model, rows, assignments);
    const { downloadBytesPerMs, uploadBytesPerMs, assignmentsPerSecond, lapOverheadMs } = tab.donor;
    const sentMs = batch.coordinator.up.take(this.#nowMs, dispatchBytes / this.#upBytesPerMs);
    const computeMs = lapOverheadMs + (1000 * assignments) / assignmentsPerSecond;
    const askedMs = this.#nowMs;
    const steps: (() => number)[] = [
      () => this.#nowMs + this.#travelMs(tab, dispatchBytes),
      () => tab.down.take(this.#nowMs, dispatchBytes / downloadBytesPerMs),
      () => tab.gpu.take(this.#nowMs, computeMs),
      () => tab.up.take(this.#nowMs, combineBytes / uploadBytesPerMs),
      () => this.#nowMs + this.#travelMs(tab, combineBytes),
      () => batch.coordinator.down.take(this.#nowMs, combineBytes / this.#downBytesPerMs),
    ];
    const go = (step: number): void => {
      if (step < steps.length) return this.#at(steps[step]!(), () => go(step + 1));
      tab.learn(this.#nowMs - askedMs, assignments);
      if (--batch.left === 0) this.#combined(batch);
    };
    this.#at(sentMs, () => go(0));
  }

  /** One way, without the time that the bytes take on the lines. */
  #travelMs({ donor: { rttMs, rttSigma } }: Tab, bytes: number): number {
    return rttMs * logNormal(this.#rng, { median: 1, sigma: rttSigma }) * (roundTrips(bytes / this.#connections) - 0.5);
  }

  #combined(batch: Batch): void {
    batch.layer = (batch.layer + 1) % this.#model.numLayers;
    if (batch.layer === 0) {
      batch.passes++;
      batch.passMs.push(this.#nowMs - batch.startedMs);
      batch.startedMs = this.#nowMs;
    }
    this.#layer(batch);
  }

  busy() {
    const coordinators = [...new Set(this.#batches.map(({ coordinator }) => coordinator))];
    const of = <T>(list: readonly T[], server: (one: T) => Server): number[] => list.map((one) => server(one).busyMs);
    return {
      coordinatorUp: of(coordinators, ({ up }) => up),
      coordinatorDown: of(coordinators, ({ down }) => down),
      tabDown: of(this.#tabs, ({ down }) => down),
      tabGpu: of(this.#tabs, ({ gpu }) => gpu),
      tabUp: of(this.#tabs, ({ up }) => up),
    };
  }

  #result(before: ReturnType<LapSimulation['busy']>): LapsResult {
    const tookMs = this.#nowMs - this.#measuredFromMs!;
    const now = this.busy();
    const shares = (part: keyof typeof now): number[] =>
      now[part].map((busyMs, i) => Math.min(1, (busyMs - before[part][i]!) / tookMs));
    const passMs = this.#batches.flatMap((batch) => batch.passMs);
    const perTab = shares('tabUp').map((up, i) => Math.max(up, shares('tabGpu')[i]!, shares('tabDown')[i]!));
    const busiest = perTab.toSorted((a, b) => b - a).slice(0, Math.ceil(perTab.length / 10));
    return {
      tokensPerSecond: (1000 * this.#assignments) / this.#model.topK / this.#model.numLayers / tookMs,
      passMs: mean(passMs),
      busy: {
        coordinatorUp: mean(shares('coordinatorUp')),
        coordinatorDown: mean(shares('coordinatorDown')),
        tabDown: mean(shares('tabDown')),
        tabGpu: mean(shares('tabGpu')),
        tabUp: mean(shares('tabUp')),
      },
      busiestTabs: mean(busiest),
      busiestTab: busiest[0]!,
      uncoveredShare: this.#uncovered / this.#assignments,
    };
  }
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
