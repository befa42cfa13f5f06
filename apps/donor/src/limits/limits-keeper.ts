import { type Allowance, type PeerHostStats, trafficOf } from '@shoal/peer';
import { MAX_REST_MS, type TabPromise } from '@shoal/protocol';
import { signal } from '@preact/signals';
import { Tally } from '../tally.ts';
import { type Circumstances, decide, type Decision } from './decide.ts';
import { HoursWatch } from './hours.ts';
import { dateOf, type LocalTime, monthOf, nextDay, nextMonth } from './local-time.ts';
import { OtherProgramWatch } from './other-program.ts';
import type { Sensors } from './sensors.ts';
import {
  type LimitSettings,
  type LimitsStorage,
  parseSettings,
  readSettings,
  SETTINGS_KEY,
  writeSettings,
} from './settings.ts';
import { TrafficBook } from './traffic-book.ts';

export interface LimitsKeeperOptions {
  /** Shared by all tabs of the browser. */
  storage: LimitsStorage;
  /** Whether `storage` is kept when the page is closed. */
  isKept: boolean;
  sensors: Sensors;
  local: LocalTime;
  /** The computer's clock, in milliseconds of Unix. */
  unixMs: () => number;
}

/** What a page shows of the limits. */
export interface LimitsState {
  settings: LimitSettings;
  circumstances: Circumstances;
  decision: Decision;
}

/** Who carries out what the limits allow. */
export interface LimitsObeyer {
  /** The tab rests or goes on, or works another share of the time. */
  onPromise(promise: TabPromise): void;
  /** The same for the worker, with its budget of traffic. Called every second. */
  onAllowance(allowance: Allowance): void;
}

/** Changes of a promise are told at once, but not sooner after each other than this. */
const BETWEEN_PROMISES_MS = 6_000;

/** Keeps a tab to its donor's limits: decides once a second, and whenever something changes. */
export class LimitsKeeper {
  readonly state;
  readonly isKept: boolean;
  readonly sensors: Sensors;
  readonly #options: LimitsKeeperOptions;
  readonly #hours: HoursWatch;
  readonly #otherProgram = new OtherProgramWatch();
  #settings: LimitSettings;
  #book: TrafficBook;
  #obeyer: LimitsObeyer | undefined;
  readonly #traffic = new Tally();
  /** Ends of this day and month, which are looked up once. */
  #ends: { date: string; dayEndsMs: number | undefined; monthEndsMs: number | undefined } | undefined;
  #told = '';
  #toldAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: LimitsKeeperOptions) {
    this.#options = options;
    this.isKept = options.isKept;
    this.sensors = options.sensors;
    this.#hours = new HoursWatch(options.local);
    this.#settings = readSettings(options.storage);
    this.#book = new TrafficBook(options.storage, 0);
    this.state = signal(this.#look());
    this.#watch();
  }

  /** From now on limits are carried out. `tab`: number of this tab among the donor's open ones. */
  begin(tab: number, obeyer: LimitsObeyer): void {
    this.#book = new TrafficBook(this.#options.storage, tab);
    this.#obeyer = obeyer;
    this.evaluate();
  }

  /** The donor wants other limits, here and in all open tabs. */
  change(settings: LimitSettings): void {
    this.#settings = parseSettings(settings);
    writeSettings(this.#options.storage, this.#settings);
    this.#watch();
    this.evaluate();
  }

  /** Another tab has changed something. */
  readStorage({ key }: Pick<StorageEvent, 'key'>): void {
    if (key !== SETTINGS_KEY && key !== null) return;
    this.#settings = readSettings(this.#options.storage);
    this.#watch();
    this.evaluate();
  }

  /** Counters of the worker, once a second. */
  readStats(stats: PeerHostStats): void {
    const { unixMs, local } = this.#options;
    const nowMs = unixMs();
    this.#book.add(this.#traffic.read(trafficOf(stats)), local(nowMs), nowMs);
    this.#otherProgram.read(stats, nowMs);
    this.evaluate();
  }

  /** The worker's counters begin at 0. */
  restartWorker(): void {
    this.#traffic.restart();
  }

  /** Whether the tab is to rest now. */
  get rests(): boolean {
    return this.state.value.decision.rest !== undefined;
  }

  /** What the coordinator is told, with times from now. */
  get promise(): TabPromise {
    const { share, rest, restsAtMs } = this.state.value.decision;
    const nowMs = this.#options.unixMs();
    const fromNow = (atMs: number): number => Math.round(Math.min(MAX_REST_MS, Math.max(0, atMs - nowMs)));
    return {
      share,
      ...(rest && { rest: { why: rest.why, ...(rest.untilMs !== undefined && { forMs: fromNow(rest.untilMs) }) } }),
      ...(restsAtMs !== undefined && { restsInMs: fromNow(restsAtMs) }),
    };
  }

  get allowance(): Allowance {
    const { share, rest, restsAtMs, trafficBytes } = this.state.value.decision;
    return { share, rests: rest !== undefined, untilMs: restsAtMs, trafficBytes };
  }

  /** Decides anew. Called once a second at least. */
  evaluate(): void {
    this.state.value = this.#look();
    this.#obeyer?.onAllowance(this.allowance);
    this.#tell();
  }

  /** The coordinator has been told of the present promise, when the tab joined. */
  noteTold(): void {
    this.#told = this.#essence;
    this.#toldAtMs = this.#options.unixMs();
  }

  #tell(): void {
    const sinceMs = this.#options.unixMs() - this.#toldAtMs;
    // A clock that was set back must not keep it from telling.
    if (!this.#obeyer || this.#told === this.#essence || (sinceMs >= 0 && sinceMs < BETWEEN_PROMISES_MS)) return;
    this.noteTold();
    this.#obeyer.onPromise(this.promise);
  }

  /** What of a decision a coordinator should know: changes if it should be told anew. */
  get #essence(): string {
    const { share, rest, restsAtMs } = this.state.value.decision;
    return [share, rest?.why, rest?.untilMs, restsAtMs].join();
  }

  #look(): LimitsState {
    const settings = this.#settings;
    const circumstances = this.#circumstances(settings);
    return { settings, circumstances, decision: decide(settings, circumstances) };
  }

  #circumstances({ hours }: LimitSettings): Circumstances {
    const { unixMs, local, sensors } = this.#options;
    const nowMs = unixMs();
    const moment = local(nowMs);
    const date = `${dateOf(moment)} ${monthOf(moment)}`;
    const ends = this.#ends;
    const isOld = ends?.date !== date || (ends.dayEndsMs ?? 0) <= nowMs;
    if (isOld) this.#ends = { date, dayEndsMs: nextDay(nowMs, local), monthEndsMs: nextMonth(nowMs, local) };
    return {
      unixMs: nowMs,
      hours: hours && this.#hours.at(hours, nowMs),
      traffic: this.#book.used(moment, nowMs),
      dayEndsMs: this.#ends!.dayEndsMs,
      monthEndsMs: this.#ends!.monthEndsMs,
      battery: sensors.battery(),
      isInUse: sensors.isInUse(),
      otherProgramUntilMs: this.#otherProgram.restsUntil(nowMs),
    };
  }

  #watch(): void {
    const { onMains, aboveBatteryPercent, whileIdle } = this.#settings;
    const battery = onMains || aboveBatteryPercent !== undefined;
    this.#options.sensors.watch({ battery, idle: whileIdle }, () => this.evaluate());
  }
}
