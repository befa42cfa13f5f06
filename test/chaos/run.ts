import { createRng } from '@shoal/model';
import { SampleWindow } from '../../coordinator/src/base/sample-window.ts';
import { GOLDEN } from '../integration/golden.ts';
import { covered, until } from '../integration/virtual-donor.ts';
import type { PeerSession } from '../../coordinator/src/swarm/peer-session.ts';
import { type Adversary, HOLD_UP_LAPS } from './adversaries.ts';
import { Crowd, type KnownAdversary } from './crowd.ts';
import type { AdversaryFate, ChaosReport } from './report.ts';
import { type Blow, type Happening, schedule, type ScheduledEvent } from './schedule.ts';
import { combined, type Counters, Interrupted, Refused, type Stage } from './stage.ts';
import { SPELL_MS, type TabMaker, type Victim } from './victims.ts';
import { SumWatch, Suspects } from './watch.ts';

export interface ChaosOptions {
  seed: number;
  /** Tabs by kind; liars are of the first kind. */
  tabs: readonly { maker: TabMaker; count: number }[];
  streams: number;
  durationMs: number;
  everyMs: number;
  kinds: readonly Happening[];
  /** Answers that each stream writes in the healthy run. */
  healthyRounds?: number;
  /** Measure the healthy gaps after the events as well, so that a slower machine is not taken for a stall. */
  healthyAfter?: boolean;
  say?: (line: string) => void;
}

/** Real tabs compile shaders on the same cores as everything else. */
const JOIN_TIMEOUT_MS = 180_000;
const SIGHTING_MS = 50;
/** Pause before a stream asks again after a restart. */
const RETRY_MS = 200;
/** Time for everything sent during a spell to arrive. */
const WIRE_MS = 500;
/** Heartbeats detect a frozen tab in 8 s; after this it counts as never dropped. */
const GONE_TIMEOUT_MS = 30_000;

/** Runs streams over tabs under faults, and compares them with the same streams without faults. */
export function runChaos(stage: Stage, options: ChaosOptions): Promise<ChaosReport> {
  return new ChaosRun(stage, options).run();
}

/** When an adversary could do harm. */
interface Sightings {
  kind: Adversary;
  sinceMs: number | undefined;
  goneMs: number | undefined;
  /** Since it was gone for the first time: all, and those in which it could again. */
  samples: number;
  back: number;
}

/** Tabs that the placement needs for nothing, or that nobody asks, do none. */
function canHarm(kind: Adversary, session: PeerSession | undefined): boolean {
  if (session === undefined || session.state === 'gone' || !session.connected || session.assigned.size === 0)
    return false;
  return !HOLD_UP_LAPS.includes(kind) || session.laps.lapsAsked > 0;
}

function fateOf({ kind, sinceMs, goneMs, samples, back }: Sightings): AdversaryFate {
  return {
    kind,
    presentMs: sinceMs === undefined ? 0 : performance.now() - sinceMs,
    goneMs: sinceMs === undefined || goneMs === undefined ? undefined : goneMs - sinceMs,
    backShare: samples === 0 ? 0 : back / samples,
  };
}

class ChaosRun {
  readonly #stage: Stage;
  readonly #options: ChaosOptions;
  readonly #say: (line: string) => void;
  readonly #crowd = new Crowd();
  readonly #sums = new SumWatch();
  readonly #gaps = new SampleWindow(1 << 17);
  /** From before the first event and after the last, since a shared machine may have become slower. */
  readonly #healthyGaps = new SampleWindow(1 << 17);
  readonly #gone = new Map<Blow, SampleWindow>();
  readonly #suspects = new Suspects();
  readonly #sightings: Sightings[] = [];
  #isOver = false;
  readonly #report: ChaosReport;
  #healthy: string[] = [];
  #last: Happening | 'nothing' = 'nothing';
  /** The coordinator's counts from periods that are excluded. */
  #excused: Counters | undefined;

  constructor(stage: Stage, options: ChaosOptions) {
    this.#stage = stage;
    this.#options = options;
    this.#say = options.say ?? (() => {});
    this.#report = {
      answers: 0,
      failed: [],
      different: [],
      suspect: { answers: 0, different: 0 },
      interrupted: 0,
      events: {},
      tabsLost: 0,
      redispatches: 0,
      hedges: 0,
      laps: 0,
      uncoveredShare: 0,
      gapMs: { healthyP99: 0, p99: 0, max: 0, after: {} },
      goneMs: {},
      liars: [],
      adversaries: [],
      restarts: [],
      violations: this.#sums.violations,
    };
  }

  async run(): Promise<ChaosReport> {
    const { tabs, streams, durationMs, everyMs, kinds, seed } = this.#options;
    await this.#crowd.gather(tabs);
    try {
      await this.#everyoneServes();
      this.#say('healthy run');
      await this.#healthyRun();
      this.#sums.attach(this.#stage.core());
      const before = this.#stage.counters();
      this.#say('chaos');
      const deadlineMs = performance.now() + durationMs;
      const asking = Array.from({ length: streams }, (_, i) => this.#stream(i, deadlineMs));
      await Promise.all([...asking, this.#unleash(schedule(createRng(seed), durationMs, everyMs, kinds))]);
      const counted = combined(this.#stage.counters(), before, -1);
      if (this.#options.healthyAfter) {
        await this.#everyoneServes();
        this.#say('healthy run again');
        await this.#healthyRun();
      }
      this.#finish(counted);
    } finally {
      this.#isOver = true;
      await this.#crowd.close();
      for (const { maker } of tabs) await maker.close();
    }
    return this.#report;
  }

  #finish(counted: Counters): void {
    const report = this.#report;
    const held = this.#excused ? combined(counted, this.#excused, -1) : counted;
    Object.assign(report, {
      tabsLost: counted.departed,
      redispatches: counted.redispatches,
      hedges: counted.hedges,
      laps: counted.laps,
      uncoveredShare: held.local / (held.local + held.tabs),
      liars: this.#crowd.liars.map((liar) => this.#sums.fateOf(liar)),
      adversaries: this.#sightings.map(fateOf),
    });
    report.gapMs.healthyP99 = this.#healthyGaps.quantile(0.99)!;
    report.gapMs.p99 = this.#gaps.quantile(0.99)!;
    report.gapMs.max = this.#gaps.quantile(1)!;
    for (const [blow, window] of this.#gone) {
      report.goneMs[blow] = { median: window.quantile(0.5)!, max: window.quantile(1)! };
    }
  }

  async #everyoneServes(timeoutMs = JOIN_TIMEOUT_MS): Promise<void> {
    // Spare tabs of a large swarm may have nothing to do; they count as settled too.
    const back = (victim: Victim): boolean => (victim.session()?.state ?? 'waiting') !== 'gone';
    await until(
      'all tabs to be settled, and all experts to be served',
      () => {
        const { core } = this.#stage;
        const { members } = this.#crowd;
        return core().swarm.peers.length >= members.length && covered(core()) && members.every(back);
      },
      timeoutMs,
    );
  }

  async #healthyRun(): Promise<void> {
    const { streams, healthyRounds = 1 } = this.#options;
    const run = async (prompt: number): Promise<void> => {
      this.#healthy[prompt] = (await this.#answer(prompt, (gapMs) => this.#healthyGaps.add(gapMs))).text;
    };
    const stream = async (i: number): Promise<void> => {
      for (let round = 0; round < healthyRounds; round++) await run((i + round) % GOLDEN.length);
    };
    await Promise.all(Array.from({ length: streams }, (_, i) => stream(i)));
    // Fewer streams than prompts leave some without a healthy answer.
    for (let prompt = 0; prompt < GOLDEN.length; prompt++) if (!this.#healthy[prompt]) await run(prompt);
  }

  /** One answer, and whether it may contain a wrong row; a prompt is traced only for its last token. */
  async #answer(prompt: number, onGap: (gapMs: number) => void): Promise<{ text: string; suspect: boolean }> {
    let lastMs: number | undefined;
    let suspect = false;
    const before = this.#suspects.usedRows;
    const text = await this.#stage.ask(prompt, (piece) => {
      const nowMs = performance.now();
      if (lastMs === undefined) suspect = this.#suspects.usedRows > before;
      else onGap(nowMs - lastMs);
      lastMs = nowMs;
      suspect ||= this.#suspects.haveOneOf(piece.peers);
    });
    return { text, suspect };
  }

  async #stream(index: number, deadlineMs: number): Promise<void> {
    const { after } = this.#report.gapMs;
    const onGap = (gapMs: number): void => {
      this.#gaps.add(gapMs);
      after[this.#last] = Math.max(after[this.#last] ?? 0, gapMs);
    };
    for (let round = 0; performance.now() < deadlineMs;) {
      const prompt = (index + round) % GOLDEN.length;
      try {
        this.#compare(prompt, await this.#answer(prompt, onGap));
        round++;
      } catch (error) {
        if (error instanceof Interrupted || error instanceof Refused) {
          if (error instanceof Interrupted) this.#report.interrupted++;
          await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
          continue;
        }
        this.#report.failed.push(String(error));
        round++;
      }
    }
  }

  #compare(prompt: number, { text, suspect }: { text: string; suspect: boolean }): void {
    const report = this.#report;
    report.answers++;
    const healthy = this.#healthy[prompt]!;
    const differs = text !== healthy;
    if (suspect) {
      report.suspect.answers++;
      if (differs) report.suspect.different++;
    } else if (differs) {
      report.different.push({ prompt: GOLDEN[prompt]!.prompt, at: firstDifference(text, healthy) });
    }
  }

  async #unleash(events: readonly ScheduledEvent[]): Promise<void> {
    // Paused during restarts: the schedule is in the tabs' time.
    let startedMs = performance.now();
    for (const event of events) {
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, startedMs + event.atMs - performance.now())));
      const beforeMs = performance.now();
      const what = await this.#happen(event);
      if (event.happening === 'restart') startedMs += performance.now() - beforeMs;
      this.#say(`${(event.atMs / 1000).toFixed(1)} s: ${what}`);
      await this.#crowd.replaceLost();
    }
  }

  /** Resolves to what happened and to which tab. */
  async #happen({ happening, victim: share }: ScheduledEvent): Promise<string> {
    const happened = await this.#befall(happening, share);
    this.#report.events[happened.kind] = (this.#report.events[happened.kind] ?? 0) + 1;
    return happened.text;
  }

  async #befall(happening: Happening, share: number): Promise<{ kind: Happening; text: string }> {
    if (happening === 'restart') {
      this.#last = happening;
      return { kind: happening, text: await this.#restart() };
    }
    if (happening === 'liar') {
      const { lie, begins, victim } = await this.#crowd.addLiar(this.#options.tabs[0]!.maker);
      this.#suspects.add(victim);
      this.#last = happening;
      return { kind: happening, text: `a liar joins (${lie}, ${begins})` };
    }
    if (happening === 'adversary') {
      const adversary = await this.#crowd.addAdversary(this.#options.tabs[0]!.maker);
      void this.#watchAdversary(adversary);
      this.#last = happening;
      return { kind: happening, text: `an adversary joins (${adversary.kind})` };
    }
    const victim = this.#crowd.pick(share);
    const name = victim.name();
    this.#last = happening;
    const session = victim.session();
    const kind = await victim.befall(happening);
    // A changed byte makes a wrong number: its effect on an answer looks the same as a lie's.
    if (kind === 'corruption') this.#suspects.add(victim, SPELL_MS + WIRE_MS);
    const ends = kind === 'crash' || kind === 'freeze' || kind === 'leave';
    if (ends) {
      if (session) void this.#timeGone(kind, () => session.state === 'gone');
      await this.#crowd.replace(victim);
    }
    return { kind, text: `${name}: ${kind}` };
  }

  /** Notes when it can do harm. */
  async #watchAdversary({ kind, victim }: KnownAdversary): Promise<void> {
    const seen: Sightings = { kind, sinceMs: undefined, goneMs: undefined, samples: 0, back: 0 };
    this.#sightings.push(seen);
    while (!this.#isOver) {
      const doesHarm = canHarm(kind, victim.session());
      if (doesHarm) seen.sinceMs ??= performance.now();
      if (seen.goneMs !== undefined) {
        seen.samples++;
        if (doesHarm) seen.back++;
      } else if (seen.sinceMs !== undefined && !doesHarm) seen.goneMs = performance.now();
      await new Promise((resolve) => setTimeout(resolve, SIGHTING_MS));
    }
  }

  async #timeGone(blow: Blow, gone: () => boolean): Promise<void> {
    const startedMs = performance.now();
    while (!gone() && performance.now() - startedMs < GONE_TIMEOUT_MS) {
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    const window = this.#gone.get(blow) ?? new SampleWindow(1024);
    this.#gone.set(blow, window);
    window.add(performance.now() - startedMs);
  }

  async #restart(): Promise<string> {
    const { restart } = this.#stage;
    if (!restart) throw new Error('A coordinator without a server cannot restart.');
    // Later downloads are due to the restart.
    await this.#everyoneServes();
    const { members } = this.#crowd;
    const downloads = (): number => members.reduce((sum, victim) => sum + (victim.downloads() ?? 0), 0);
    const [startedMs, downloadsBefore] = [performance.now(), downloads()];
    await restart();
    const [upMs, atStart] = [performance.now(), this.#stage.counters()];
    this.#sums.attach(this.#stage.core());
    await this.#everyoneServes();
    const excused = combined(this.#stage.counters(), atStart, -1);
    this.#excused = this.#excused ? combined(this.#excused, excused, 1) : excused;
    const fate = {
      downMs: upMs - startedMs,
      rejoinedMs: performance.now() - upMs,
      downloads: downloads() - downloadsBefore,
    };
    this.#report.restarts.push(fate);
    return `the coordinator restarts; all tabs are back after ${(fate.rejoinedMs / 1000).toFixed(1)} s`;
  }
}

function firstDifference(a: string, b: string): number {
  let at = 0;
  while (at < a.length && a[at] === b[at]) at++;
  return at;
}
