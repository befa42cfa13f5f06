/** A sequence that will have a row in the next pass. */
export interface DepthStream {
  /** The most drafts that it can use, or that exist. */
  maxDrafts: number;
  /** Probability that its drafts up to this depth (from 1) are all right. */
  reach(depth: number): number;
}

/** Drafting must promise a gain of at least this factor, because times are uncertain. */
const LEAST_GAIN = 1.05;

export interface DepthCost {
  /** Time of the next pass without drafts, and of one more row. */
  passMs: number;
  msPerRow: number;
  /** Time to make the drafts of this depth, given those before it, for all sequences together. */
  draftMs(depth: number): number;
  /** Drafts of all sequences together at most: what so many rows cost is known. No limit by default. */
  room?: number;
}

/**
 * Chooses the number of drafts for each sequence that maximises the expected tokens per second: Σ (1 + Σ reach) over the time of
 * pass and drafting. A draft's row is worth its time while its probability exceeds what the same time yields elsewhere; so a
 * sequence whose drafts fail gets none, and nor does any sequence once rows cost as much as passes (many sequences).
 */
export function chooseDepths(streams: readonly DepthStream[], cost: DepthCost): number[] {
  const deepest = streams.reduce((most, { maxDrafts }) => Math.max(most, maxDrafts), 0);
  const rows = rowsOf(streams);
  let best = { depths: streams.map(() => 0), rate: rateOf(streams.length, cost.passMs) * LEAST_GAIN };
  let draftMs = 0;
  for (let depth = 1; depth <= deepest; depth++) {
    draftMs += cost.draftMs(depth);
    const upTo = rows.filter((row) => row.depth <= depth);
    const candidate = fill(upTo.slice(0, cost.room), streams.length, cost.passMs + draftMs, cost.msPerRow);
    // Of equal rates the deeper one: before times are known, drafts are tried.
    if (candidate.rate >= best.rate) best = candidate;
  }
  return best.depths;
}

/** Tokens per millisecond of one stream alone at the depth that is best for it. */
export function bestRate({ maxDrafts, reach }: DepthStream, { passMs, msPerRow, draftMs }: DepthCost): number {
  let [tokens, ms] = [1, passMs];
  let best = rateOf(tokens, ms);
  for (let depth = 1; depth <= maxDrafts; depth++) {
    tokens += reach(depth);
    ms += msPerRow + draftMs(depth);
    best = Math.max(best, rateOf(tokens, ms));
  }
  return best;
}

interface Row {
  stream: number;
  depth: number;
  reach: number;
}

/** All drafts by falling probability. Stable, and a sequence's rows fall in probability: none comes before those that it builds on. */
function rowsOf(streams: readonly DepthStream[]): Row[] {
  const rows = streams.flatMap(({ maxDrafts, reach }, stream) =>
    Array.from({ length: maxDrafts }, (_, i) => ({ stream, depth: i + 1, reach: reach(i + 1) })),
  );
  return rows.sort((a, b) => b.reach - a.reach);
}

/** Takes rows while they raise the rate. */
function fill(
  rows: readonly Row[],
  streams: number,
  baseMs: number,
  msPerRow: number,
): { depths: number[]; rate: number } {
  const depths = Array.from({ length: streams }, () => 0);
  let tokens = streams;
  let ms = baseMs;
  for (const { stream, reach } of rows) {
    if (reach * ms < tokens * msPerRow) break;
    tokens += reach;
    ms += msPerRow;
    depths[stream]!++;
  }
  return { depths, rate: rateOf(tokens, ms) };
}

function rateOf(tokens: number, ms: number): number {
  return ms > 0 ? tokens / ms : tokens;
}
