import { coverMasks } from './mask-cover.ts';

/** Who could serve a lap's experts. Candidates are numbers here, in the caller's own stable order. */
export interface CoverCandidates {
  /** Candidates that hold a live replica of the expert. */
  holders: (expert: number) => readonly number[];
  /** Usual lap time of the candidate, which changes slowly; 0 where nothing is known. Decides between groupings with as few peers. */
  usualMs: (candidate: number) => number;
  /** Lap time to be expected now; 0: it should be tried, ∞: only if nobody else can. Decides between peers for the same part. */
  expectedMs?: (candidate: number) => number;
  /** Among candidates about as fast, the lowest is asked; without it the one with the lowest number. */
  preference?: (candidate: number) => number;
}

/**
 * For each token the fewest, then the fastest peers that cover its experts.
 *
 * How a row's experts are grouped into partial sums decides its rounding, so the grouping depends on the row's own experts,
 * on who holds them, and on the order of magnitude of the peers' lap times, but never on the rest of the batch or on whose
 * turn it is. Among peers that hold the same of a row's experts, one that the batch asks anyway is taken, so that few frames go out.
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
  const asked = new Set<number>();
  const known = new Map<string, RowCover>();
  for (let from = 0; from < experts.length;) {
    let to = from + 1;
    while (to < experts.length && rows[to] === rows[from]) to++;
    // Sorted, so that the gate's order of a token's experts makes no difference.
    const own = Array.from({ length: to - from }, (_, i) => experts[from + i]!).sort((a, b) => a - b);
    const key = own.join();
    let cover = known.get(key);
    if (cover === undefined) known.set(key, (cover = coverRow(own, candidates)));
    const peers = cover.parts.map((members) => pickMember(members, asked, candidates));
    for (const peer of peers) asked.add(peer);
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
  /** By part: the candidates that could serve it, equally good ones. */
  parts: number[][];
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
  for (const [part, { mask }] of cover.entries()) {
    for (const [i, expert] of experts.entries()) if (mask & (1 << i) && !partOf.has(expert)) partOf.set(expert, part);
  }
  return { parts: cover.map(({ mask }) => classes.get(mask)!.members), partOf };
}

/**
 * Lap times count by powers of two: they waver from lap to lap, and the choice of peers should not. Below 4 ms they say
 * nothing about the peer any more; above 16 s it has failed.
 */
function speedTier(lapMs: number): number {
  return Math.round(Math.log2(Math.min(16_384, Math.max(4, lapMs))));
}

function pickMember(members: readonly number[], asked: ReadonlySet<number>, candidates: CoverCandidates): number {
  const { usualMs, expectedMs = usualMs, preference = (candidate) => candidate } = candidates;
  let best = members[0]!;
  let bestKey: readonly number[] = [];
  for (const member of members) {
    const expected = expectedMs(member);
    const key = [
      Number(expected === Number.POSITIVE_INFINITY),
      Number(!asked.has(member)),
      speedTier(expected),
      preference(member),
    ];
    const decides = key.findIndex((value, i) => value !== bestKey[i]);
    if (bestKey.length > 0 && (decides === -1 || key[decides]! > bestKey[decides]!)) continue;
    best = member;
    bestKey = key;
  }
  return best;
}
