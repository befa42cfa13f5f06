import { coverMasks } from './mask-cover.ts';

/** What is known of a candidate's laps. */
export interface CandidateExpectation {
  /** `try`: it should be asked, to know it; `avoid`: only if nobody else can. */
  standing: 'known' | 'try' | 'avoid';
  /** Of any lap, and of each (row, expert) pair in it. */
  fixedMs: number;
  perAssignmentMs: number;
}

/** Who could serve a lap's experts. Candidates are numbers here, in the caller's own stable order. */
export interface CoverCandidates {
  /** Candidates that hold a live replica of the expert. */
  holders: (expert: number) => readonly number[];
  /** Usual lap time of the candidate, which changes slowly; 0 where nothing is known. Decides between groupings with as few peers. */
  usualMs: (candidate: number) => number;
  /** What is to be expected now. Decides between peers for the same part. */
  expected?: (candidate: number) => CandidateExpectation;
  /** Among candidates about as fast, the lowest is asked; without it the one with the lowest number. */
  preference?: (candidate: number) => number;
}

/** A further peer is asked only if its answer would be there earlier by so much: it costs a frame, and the slowest decides. */
const MIN_GAIN_MS = 1;
const MIN_GAIN_SHARE = 0.1;

/**
 * For each token the fewest, then the fastest peers that cover its experts.
 *
 * How a row's experts are grouped into partial sums decides its rounding, so the grouping depends on the row's own experts,
 * on who holds them, and on the order of magnitude of the peers' lap times, but never on the rest of the batch or on whose
 * turn it is. Among peers that hold the same of a row's experts, one that the batch asks anyway is taken, so that few frames
 * go out, until what it has been given would keep it longer than another would need: each row goes where it is done first.
 *
 * @param experts [numAssignments] expert of each (row, expert) pair
 * @param rows [numAssignments] the pair's row; equal ones are neighbours
 * @returns [numAssignments] candidate, or −1 where nobody holds the expert
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
    const peers = cover.parts.map(({ members, pairs }) => sharing.give(members, pairs));
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
  /** The candidates that could serve each, equally good ones, and its number of experts. */
  parts: { members: number[]; pairs: number }[];
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
  const parts = cover.map(({ mask }) => ({ members: classes.get(mask)!.members, pairs: 0 }));
  for (const [part, { mask }] of cover.entries()) {
    for (const [i, expert] of experts.entries()) {
      if (!(mask & (1 << i)) || partOf.has(expert)) continue;
      partOf.set(expert, part);
      parts[part]!.pairs++;
    }
  }
  return { parts, partOf };
}

/**
 * Lap times count by powers of two: they waver from lap to lap, and the choice of peers should not. Below 4 ms they say
 * nothing about the peer any more; above 16 s it has failed.
 */
function speedTier(lapMs: number): number {
  return Math.round(Math.log2(Math.min(16_384, Math.max(4, lapMs))));
}

/** Who has been given how much of one batch. */
class BatchSharing {
  readonly #candidates: CoverCandidates;
  /** (row, expert) pairs by candidate. */
  readonly #given = new Map<number, number>();

  constructor(candidates: CoverCandidates) {
    this.#candidates = candidates;
  }

  /** One of the members, which is given so many pairs more. */
  give(members: readonly number[], pairs: number): number {
    const chosen = this.#choose(members, pairs);
    this.#given.set(chosen, (this.#given.get(chosen) ?? 0) + pairs);
    return chosen;
  }

  #choose(members: readonly number[], pairs: number): number {
    if (members.length === 1) return members[0]!;
    let asked: Choice | undefined;
    let further: Choice | undefined;
    for (const candidate of members) {
      const given = this.#given.get(candidate);
      const choice = this.#choice(candidate, given ?? 0, pairs);
      if (given === undefined) {
        if (further === undefined || isNext(choice, further)) further = choice;
      } else if (asked === undefined || isDoneBefore(choice, asked)) asked = choice;
    }
    if (asked === undefined || further === undefined) return (asked ?? further)!.candidate;
    return isWorthAFrame(asked, further) ? further.candidate : asked.candidate;
  }

  #choice(candidate: number, given: number, pairs: number): Choice {
    const { usualMs, expected, preference } = this.#candidates;
    const turn = preference?.(candidate) ?? candidate;
    const known = expected?.(candidate);
    if (known === undefined) return { candidate, given, standing: 'known', doneMs: usualMs(candidate), turn };
    const { standing, fixedMs, perAssignmentMs } = known;
    return { candidate, given, standing, doneMs: fixedMs + perAssignmentMs * (given + pairs), turn };
  }
}

interface Choice {
  candidate: number;
  /** Pairs that it has of this batch already. */
  given: number;
  standing: CandidateExpectation['standing'];
  /** When it would have done these as well. */
  doneMs: number;
  turn: number;
}

/** For the first part of a batch. */
const FIRST: Record<Choice['standing'], number> = { try: 0, known: 1, avoid: 2 };
/** For more. Of strangers nobody knows how much is too much. */
const MORE: Record<Choice['standing'], number> = { known: 0, try: 1, avoid: 2 };

/** Of those about as fast the next in turn, so that the figures of all stay fresh. */
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
