import { counted, MINUTE_MS, type Rule, type SpeedFacts } from '../facts.ts';

/**
 * People notice a wait from about a second on, and turn to something else after about ten (Nielsen, Usability Engineering, 1993,
 * ch. 5). Below ten first tokens a 95th percentile is just the longest.
 */
const SLOW_MS = 1_500;
const STILL_SLOW_MS = 1_000;
const TOO_SLOW_MS = 10_000;
const ENOUGH_FIRST_TOKENS = 10;

/** Of expert work. A tab that leaves causes a little for a few seconds; more of it for minutes means that something is missing. */
const FALLBACK = 0.05;
const STILL_FALLBACK = 0.02;
/** Products of some hundred tokens: of less, a share says nothing. */
const ENOUGH_WORK = 5_000;

/** Both sides are medians or means of what varies, so that only a clear difference counts. */
const SLOWER = 1.5;
const STILL_SLOWER = 1.2;

const firstToken: Rule = {
  name: 'first-tokens-slow',
  about: 'coordinator',
  raiseAfterMs: MINUTE_MS,
  clearAfterMs: MINUTE_MS,
  check({ recent: { firstTokens } }, isRaised) {
    const { count, p95Ms } = firstTokens;
    if (p95Ms === null || count < ENOUGH_FIRST_TOKENS || p95Ms < (isRaised ? STILL_SLOW_MS : SLOW_MS)) return undefined;
    return {
      severity: p95Ms >= TOO_SLOW_MS ? 'urgent' : 'warning',
      text: `First tokens are slow: one request in twenty waited ${(p95Ms / 1000).toFixed(1)} s or more for its first token in the last ten minutes`,
      remedy:
        'Look whether requests wait in the queue (more tabs or a larger --max-batch help), or whether their prompts are long (which takes its time).',
      href: '#requests',
    };
  },
};

const refused: Rule = {
  name: 'requests-refused',
  about: 'coordinator',
  raiseAfterMs: 0,
  clearAfterMs: MINUTE_MS,
  check({ recent }) {
    if (recent.refused === 0) return undefined;
    return {
      severity: 'warning',
      text: `${counted(recent.refused, 'request was', 'requests were')} refused within five minutes because the queue was full`,
      remedy:
        'More tabs answer faster, --max-queue lets more wait, and limits for API keys keep one client from taking all places.',
      href: '#requests',
    };
  },
};

const fallbackWork: Rule = {
  name: 'work-not-covered',
  about: 'coordinator',
  raiseAfterMs: MINUTE_MS,
  clearAfterMs: MINUTE_MS,
  check({ tabs, recent: { work } }, isRaised) {
    const share = work.fallback / work.all;
    if (tabs.serving === 0 || work.all < ENOUGH_WORK || share < (isRaised ? STILL_FALLBACK : FALLBACK))
      return undefined;
    return {
      severity: 'warning',
      text: `The coordinator computed ${(share * 100).toFixed(0)} % of the expert work of the last five minutes itself, because no tab could or one was too slow`,
      remedy:
        'The map shows what no tab holds, and the table of tabs which ones are late. More tabs help, or removing one that is often late.',
      href: '#map',
    };
  },
};

/** What a pass takes over its laps on tabs, and what it would take if the coordinator computed all of it, in milliseconds. */
export function passTimes({ lap, ownMsPerAssignment, engineMs, lapsPerPass }: SpeedFacts) {
  if (lap === null || ownMsPerAssignment === null || engineMs === null || lapsPerPass === 0) return undefined;
  const ownLapMs = ownMsPerAssignment * lap.assignments;
  return { ownLapMs, onTabsMs: engineMs + lapsPerPass * lap.ms, aloneMs: engineMs + lapsPerPass * ownLapMs };
}

const slowTabs: Rule = {
  name: 'tabs-slower-than-the-coordinator',
  about: 'coordinator',
  raiseAfterMs: 2 * MINUTE_MS,
  clearAfterMs: 2 * MINUTE_MS,
  check({ tabs, speed }, isRaised) {
    const times = passTimes(speed);
    if (tabs.serving === 0 || !speed.hasRoomForAll || !times || !speed.lap) return undefined;
    const ratio = times.onTabsMs / times.aloneMs;
    if (ratio < (isRaised ? STILL_SLOWER : SLOWER)) return undefined;
    const ms = (value: number): string => `${value.toPrecision(2).replace(/\.0$/, '')} ms`;
    return {
      severity: 'warning',
      text: `The tabs make answers slower: a lap takes ${ms(speed.lap.ms)} on them, where this coordinator needs about ${ms(times.ownLapMs)} (estimated from what it computed itself), so that alone it would answer about ${ratio.toFixed(1)} times as fast`,
      remedy: `Start it with --local-experts ${Math.ceil(speed.allExpertsBytes / 2 ** 20)}MiB to let it hold every expert, or remove the tabs whose laps are slow (often those on a software GPU or a processor).`,
      href: '#peers',
    };
  },
};

export const SPEED_RULES: readonly Rule[] = [firstToken, refused, fallbackWork, slowTabs];
