import { coverMasks } from './mask-cover.ts';

/** What to expect of a candidate's laps. */
export interface CandidateExpectation {
  /** `try`: ask it, to measure it; `avoid`: ask it only if no other candidate can serve. */
  standing: 'known' | 'try' | 'avoid';
  /** Time of any lap, and of each assignment in it. */
  fixedMs: number;
  perAssignmentMs: number;
}

/** The peers that could serve a lap's experts, as numbers in the caller's own stable order. */
export interface CoverCandidates {
  /** Candidates with a live replica of the expert. */
  holders: (expert: number) => readonly number[];
  /** The candidate's usual lap time, which changes slowly; 0 if unknown. Decides between groupings with equally few peers. */
  usualMs: (candidate: number) => number;
  /** What to expect now. Decides between peers for the same part. */
  expected?: (candidate: number) => CandidateExpectation;
  /** Of about equally fast candidates, the one with the lowest value is asked; the candidate's number by default. */
  preference?: (candidate: number) => number;
}

/** Asking another peer costs a frame, so its answer must come earlier by at least this much. */
const MIN_GAIN_MS = 1;
const MIN_GAIN_SHARE = 0.1;

/**
 * Chooses for each row the fewest, then the fastest peers that cover its experts.
 *
 * How a row's experts are grouped into partial sums decides its rounding. So the grouping depends on the row's own experts, their
 * holders, and the order of magnitude of the peers' lap times, but never on the rest of the batch or on whose turn it is. Of the
 * peers that hold the same experts of a row, one that the batch already asks is preferred, to save frames, until another would
 * finish sooner.
 *
 * @param experts [numAssignments] expert of each assignment
 * @param rows [numAssignments] row of each assignment; equal ones are adjacent
 * @returns [numAssignments] candidate, or −1 if no peer holds the expert
 */
export function coverRows(
  experts: ArrayLike<number>,
  rows: ArrayLike<number>,
  candidates: CoverCandidates,
): Int32Array {
  const chosen = new Int32Array(experts.length).fill(-1);
  const sharing = new BatchSharing(candidates);
  const known = new Map<string, RowCover>();
  for (let from = 0; from < experts.length;) {
    let to = from + 1;
    while (to < experts.length && rows[to] === rows[from]) to++;
    // Sorted, so that the gate's order of a token's experts makes no difference.
    const own = Array.from({ length: to - from }, (_, i) => experts[from + i]!).sort((a, b) => a - b);
    const key = own.join();
    let cover = known.get(key);
    if (cover === undefined) known.set(key, (cover = coverRow(own, candidates)));
    const peers = cover.parts.map(({ members, assignments }) => sharing.give(members, assignments));
    for (let a = from; a < to; a++) {
      const part = cover.partOf.get(experts[a]!);
      if (part !== undefined) chosen[a] = peers[part]!;
    }
    from = to;
  }
  return chosen;
}

/** A row's experts in parts, each for one peer. */
interface RowCover {
  /** For each part, the equally good candidates for it and its number of assignments. */
  parts: { members: number[]; assignments: number }[];
  partOf: ReadonlyMap<number, number>;
}

/** @param experts of one row, ascending */
function coverRow(experts: readonly number[], { holders, usualMs }: CoverCandidates): RowCover {
  const maskOf = new Map<number, number>();
  for (const [i, expert] of experts.entries()) {
    for (const candidate of holders(expert)) maskOf.set(candidate, (maskOf.get(candidate) ?? 0) | (1 << i));
  }
  const classes = new Map<number, { members: number[]; cost: number }>();
  for (const [candidate, mask] of maskOf) {
    const cost = 2 ** speedTier(usualMs(candidate));
    const same = classes.get(mask);
    if (same === undefined) classes.set(mask, { members: [candidate], cost });
    else {
      same.members.push(candidate);
      same.cost = Math.min(same.cost, cost);
    }
  }
  const masks = [...classes.keys()].sort((a, b) => b - a);
  const cover = coverMasks(masks.map((mask) => ({ mask, cost: classes.get(mask)!.cost })));
  const partOf = new Map<number, number>();
  const parts = cover.map(({ mask }) => ({ members: classes.get(mask)!.members, assignments: 0 }));
  for (const [part, { mask }] of cover.entries()) {
    for (const [i, expert] of experts.entries()) {
      if (!(mask & (1 << i)) || partOf.has(expert)) continue;
      partOf.set(expert, part);
      parts[part]!.assignments++;
    }
  }
  return { parts, partOf };
}

/**
 * Rounds a lap time to a power of two, so that the choice of peers stays stable while lap times vary. Below 4 ms a lap time says
 * nothing about the peer, and above 16 s the peer has failed.
 */
function speedTier(lapMs: number): number {
  return Math.round(Math.log2(Math.min(16_384, Math.max(4, lapMs))));
}

/** Tracks how much of one batch each candidate has been given. */
class BatchSharing {
  readonly #candidates: CoverCandidates;
  /** Assignments by candidate. */
  readonly #given = new Map<number, number>();

  constructor(candidates: CoverCandidates) {
    this.#candidates = candidates;
  }

  /** Gives the assignments to one of the members, and returns it. */
  give(members: readonly number[], assignments: number): number {
    const chosen = this.#choose(members, assignments);
    this.#given.set(chosen, (this.#given.get(chosen) ?? 0) + assignments);
    return chosen;
  }

  #choose(members: readonly number[], assignments: number): number {
    if (members.length === 1) return members[0]!;
    let asked: Choice | undefined;
    let further: Choice | undefined;
    for (const candidate of members) {
      const given = this.#given.get(candidate);
      const choice = this.#choice(candidate, given ?? 0, assignments);
      if (given === undefined) {
        if (further === undefined || isNext(choice, further)) further = choice;
      } else if (asked === undefined || isDoneBefore(choice, asked)) asked = choice;
    }
    if (asked === undefined || further === undefined) return (asked ?? further)!.candidate;
    return isWorthAFrame(asked, further) ? further.candidate : asked.candidate;
  }

  #choice(candidate: number, given: number, assignments: number): Choice {
    const { usualMs, expected, preference } = this.#candidates;
    const turn = preference?.(candidate) ?? candidate;
    const known = expected?.(candidate);
    if (known === undefined) return { candidate, given, standing: 'known', doneMs: usualMs(candidate), turn };
    const { standing, fixedMs, perAssignmentMs } = known;
    return { candidate, given, standing, doneMs: fixedMs + perAssignmentMs * (given + assignments), turn };
  }
}

interface Choice {
  candidate: number;
  /** Assignments of this batch that it already has. */
  given: number;
  standing: CandidateExpectation['standing'];
  /** When it would finish these as well. */
  doneMs: number;
  turn: number;
}

/** Order of preference for a first part of the batch. */
const FIRST: Record<Choice['standing'], number> = { try: 0, known: 1, avoid: 2 };
/** Order of preference for another part. How much an unmeasured peer can take is unknown. */
const MORE: Record<Choice['standing'], number> = { known: 0, try: 1, avoid: 2 };

/** Prefers the next in turn among about equally fast candidates, so that all of their figures stay fresh. */
function isNext(a: Choice, b: Choice): boolean {
  const tier = ({ standing, doneMs }: Choice): number => (standing === 'try' ? 0 : speedTier(doneMs));
  return (FIRST[a.standing] - FIRST[b.standing] || tier(a) - tier(b) || a.turn - b.turn) < 0;
}

function isDoneBefore(a: Choice, b: Choice): boolean {
  return (MORE[a.standing] - MORE[b.standing] || a.doneMs - b.doneMs || a.given - b.given || a.turn - b.turn) < 0;
}

function isWorthAFrame(asked: Choice, further: Choice): boolean {
  if (asked.standing !== 'known') return FIRST[further.standing] < FIRST.avoid;
  const gainMs = asked.doneMs - further.doneMs;
  return further.standing === 'known' && gainMs > Math.max(MIN_GAIN_MS, MIN_GAIN_SHARE * asked.doneMs);
}
