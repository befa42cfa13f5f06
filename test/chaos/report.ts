import type { Adversary } from './adversaries.ts';
import type { LiarFate } from './watch.ts';

export interface RestartFate {
  /** From the order to stop until it listens again. */
  downMs: number;
  /** From then until every earlier tab serves again, having rejoined by itself. */
  rejoinedMs: number;
  /** Shards that these tabs downloaded again. */
  downloads: number;
}

export interface AdversaryFate {
  kind: Adversary;
  /** Since it could first do harm: it has experts and, where it holds laps up, was asked for some. */
  presentMs: number;
  /** From then until it could not, for the first time; undefined if it always could. */
  goneMs: number | undefined;
  /** Share of the time since then in which it could again. */
  backShare: number;
}

export interface ChaosReport {
  /** Complete answers. */
  answers: number;
  /** Answers that failed without a restart. */
  failed: string[];
  /** Answers that differ from the healthy run's without a suspect tab: prompt, and the first character that differs. */
  different: { prompt: string; at: number }[];
  /** Answers with rows of an uncaught liar or of a tab whose wire changed bytes, and how many of them differ. */
  suspect: { answers: number; different: number };
  /** Streams that a restart ended with an error in OpenAI's shape; each was asked again until it was complete. */
  interrupted: number;
  events: Record<string, number>;
  tabsLost: number;
  redispatches: number;
  hedges: number;
  laps: number;
  /** Share of row × expert work done by the coordinator, without the times in which tabs rejoin after its restart. */
  uncoveredShare: number;
  gapMs: {
    healthyP99: number;
    p99: number;
    max: number;
    /** The longest gap after each kind of event, until the next event. */
    after: Record<string, number>;
  };
  /** From the fault that ends a tab until the coordinator drops it. */
  goneMs: Record<string, { median: number; max: number }>;
  liars: LiarFate[];
  adversaries: AdversaryFate[];
  restarts: RestartFate[];
  /** Results of peers in probation or quarantine that are in a sum; there must be none. */
  violations: string[];
}

/** Whether everything holds that must hold at any machine speed. */
export function holds(report: ChaosReport): boolean {
  const { failed, different, violations, liars, adversaries, restarts } = report;
  const caught = liars.every(({ caughtBy, usedRows }) => caughtBy !== 'nobody' || usedRows < MAX_LIED_ROWS);
  // When an adversary is sent away just then, others download what it held.
  const maxDownloads = adversaries.length > 0 ? Number.POSITIVE_INFINITY : 0;
  const rejoined = restarts.every(
    ({ rejoinedMs, downloads }) => rejoinedMs <= MAX_REJOIN_MS && downloads <= maxDownloads,
  );
  // A restart forgets which visits were of no use.
  const maxBackShare = restarts.length > 0 ? 1 : MAX_BACK_SHARE;
  const rid = adversaries.every(
    ({ presentMs, goneMs, backShare }) =>
      presentMs < MAX_ADVERSE_MS || (goneMs !== undefined && goneMs <= MAX_ADVERSE_MS && backShare <= maxBackShare),
  );
  return failed.length + different.length + violations.length === 0 && caught && rid && rejoined;
}

/** Rows within which a liar must be caught (issue 3). */
export const MAX_LIED_ROWS = 500;
/** Time within which an adversary must be gone (issue 11). */
const MAX_ADVERSE_MS = 60_000;
/** One that had served may come back once at once, and then after a minute and more. */
const MAX_BACK_SHARE = 0.5;
/** Time for tabs to be back after the coordinator (issue 3). */
const MAX_REJOIN_MS = 10_000;

export function describe(report: ChaosReport): string {
  const { gapMs, suspect } = report;
  const rows: [string, string][] = [
    [
      'answers',
      `${report.answers} complete, ${report.failed.length} failed, ${report.different.length} unlike the healthy run's`,
    ],
    ['happenings', `${list(report.events, (count, kind) => `${count} ${kind}`)}; ${report.tabsLost} tabs lost`],
    [
      'laps',
      `${report.laps}, ${report.redispatches} re-dispatched, ${report.hedges} hedged (${percent(report.hedges / report.laps)}, at most 5 %)`,
    ],
    ['uncovered work', `${percent(report.uncoveredShare)} (bound: 5 %)`],
    ['gap between tokens', `p99 ${ms(gapMs.p99)}, longest ${ms(gapMs.max)}; healthy p99 ${ms(gapMs.healthyP99)}`],
    ['  longest after', list(gapMs.after, (max, kind) => `${kind} ${ms(max)}`)],
    ['tab let go after', list(report.goneMs, ({ median, max }, kind) => `${kind} ${ms(median)} (longest ${ms(max)})`)],
  ];
  for (const liar of report.liars) {
    const found = liar.caughtBy === 'nobody' ? 'not caught' : `caught by ${liar.caughtBy}`;
    rows.push([
      'liar',
      `${liar.lie}, ${liar.begins}: ${found} after ${liar.usedRows} used rows, ${liar.rowsInSums} of them in sums`,
    ]);
  }
  if (suspect.answers > 0) {
    const what = 'answers have a row of a liar that was not caught yet, or of a tab whose wire changed bytes';
    rows.push(['suspect', `${suspect.answers} ${what}; ${suspect.different} of them differ`]);
  }
  for (const { kind, presentMs, goneMs, backShare } of report.adversaries) {
    const fate =
      goneMs === undefined
        ? presentMs === 0
          ? 'was never asked for anything'
          : `still there after ${ms(presentMs)}`
        : `gone after ${ms(goneMs)}, then back ${percent(backShare)} of the time`;
    rows.push(['adversary', `${kind}: ${fate}`]);
  }
  if (report.liars.length > 0) {
    rows.push(['untrusted in a sum', `${report.violations.length} (bound: 0)`]);
  }
  for (const { downMs, rejoinedMs, downloads } of report.restarts) {
    rows.push(['restart', `down ${ms(downMs)}, tabs back after ${ms(rejoinedMs)}, ${downloads} downloads`]);
  }
  if (report.restarts.length > 0) rows.push(['interrupted', `${report.interrupted} streams, each with a proper error`]);
  return `\n${rows.map(([name, value]) => `${name.padEnd(20)} ${value}`).join('\n')}\n`;
}

function list<T>(record: Record<string, T>, text: (value: T, name: string) => string): string {
  return Object.entries(record)
    .map(([name, value]) => text(value, name))
    .join(', ');
}

export function percent(share: number): string {
  return `${(share * 100).toFixed(2)} %`;
}

export function ms(value: number): string {
  return `${value.toFixed(0)} ms`;
}
