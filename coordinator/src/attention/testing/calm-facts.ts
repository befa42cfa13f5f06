import type { Facts } from '../facts.ts';

/** Facts of a coordinator with three tabs that needs nothing. */
export function calmFacts(): Facts {
  return {
    nowMs: 1e12,
    startedMs: 1e12 - 3_600_000,
    tabs: { serving: 3, joining: 0, paused: 0, resting: 0, spare: 0, troubled: [], left: [], wrong: [] },
    coverage: {
      experts: 160,
      uncovered: 0,
      short: 0,
      replicas: 2,
      donors: 3,
      heaviestDonor: { tab: 'tab-1', alone: 0 },
      heaviestAddress: null,
    },
    recent: { firstTokens: { count: 40, p95Ms: 300 }, work: { all: 100_000, fallback: 0 }, refused: 0 },
    speed: {
      lap: { ms: 5, assignments: 8 },
      ownMsPerAssignment: 2,
      engineMs: 3,
      lapsPerPass: 5,
      hasRoomForAll: true,
      allExpertsBytes: 100 * 2 ** 20,
    },
    machine: {
      damagedFiles: 0,
      database: { awayForMs: 0, waitingRows: 0, lostRows: 0 },
      disks: [{ what: 'the database', dir: '/data', freeBytes: 2 ** 40 }],
      certificate: { host: 'shoal.example', leftMs: 60 * 86_400_000, lifeMs: 90 * 86_400_000 },
      clock: { databaseMs: 3, tabsMs: null },
      membersGone: [],
    },
  };
}

/** Calm facts with some parts in the place of theirs. */
export function factsWith(changes: { [Part in keyof Facts]?: Partial<Facts[Part]> }): Facts {
  const facts = calmFacts() as unknown as Record<string, unknown>;
  for (const [part, change] of Object.entries(changes))
    facts[part] = typeof change === 'object' ? { ...(facts[part] as object), ...change } : change;
  return facts as unknown as Facts;
}
