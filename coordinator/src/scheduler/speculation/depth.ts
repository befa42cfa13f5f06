/** A sequence that will have a row in the next pass. */
export interface DepthStream {
  /** The most drafts that it can use, or that exist. */
  maxDrafts: number;
  /** Whether its drafts exist already, so that none has to be made. */
  isDrafted: boolean;
  /** Probability that its drafts up to this depth (from 1) are all right. */
  reach(depth: number): number;
}

/** Drafting must promise a gain of at least this factor, because times are uncertain. */
const LEAST_GAIN = 1.05;

export interface DepthCost {
  /** Time of the next pass without drafts, and of one more row. */
  passMs: number;
  msPerRow: number;
  /** Time to make the drafts of this depth, given those before it, for no sequence; and for each sequence. */
  callMs(depth: number): number;
  msPerDraft(depth: number): number;
  /** Drafts of all sequences together at most: what so many rows cost is known. No limit by default. */
  room?: number;
}

/**
 * Chooses the number of drafts for each sequence that maximises the expected tokens per second: Σ (1 + Σ reach) over the time of
 * pass and drafting. A draft is worth its time while its probability exceeds what the same time yields elsewhere; so a
 * sequence whose drafts fail gets none, and nor does any sequence once rows cost as much as passes (many sequences). Returns the
 * expected rate too.
 */
export function chooseDepths(
  streams: readonly DepthStream[],
  cost: DepthCost,
): { depths: number[]; tokensPerMs: number } {
  const made = streams.filter(({ isDrafted }) => !isDrafted);
  const deepest = made.reduce((most, { maxDrafts }) => Math.max(most, maxDrafts), 0);
  const rows = rowsOf(streams, cost);
  let best = { depths: streams.map(() => 0), rate: rateOf(streams.length, cost.passMs) * LEAST_GAIN };
  let callsMs = 0;
  for (let depth = 0; depth <= deepest; depth++) {
    if (depth > 0) callsMs += cost.callMs(depth);
    const upTo = rows.filter((row) => row.isDrafted || row.depth <= depth);
    const candidate = fill(upTo.slice(0, cost.room), streams.length, cost.passMs + callsMs);
    // Of equal rates the deeper one: before times are known, drafts are tried.
    if (candidate.rate >= best.rate) best = candidate;
  }
  return { depths: best.depths, tokensPerMs: best.rate };
}

/** Tokens per millisecond of one stream alone at the depth that is best for it. */
export function bestRate({ maxDrafts, isDrafted, reach }: DepthStream, cost: DepthCost): number {
  let [tokens, ms] = [1, cost.passMs];
  let best = rateOf(tokens, ms);
  for (let depth = 1; depth <= maxDrafts; depth++) {
    tokens += reach(depth);
    ms += cost.msPerRow + (isDrafted ? 0 : cost.callMs(depth) + cost.msPerDraft(depth));
    best = Math.max(best, rateOf(tokens, ms));
  }
  return best;
}

interface Row {
  stream: number;
  depth: number;
  isDrafted: boolean;
  reach: number;
  /** Time of the row, and of making its draft. */
  ms: number;
  /** Tokens a millisecond, but no more than those of the drafts before it. */
  value: number;
}

/** All drafts by falling tokens a millisecond. Stable, so that none comes before those that it builds on. */
function rowsOf(streams: readonly DepthStream[], { msPerRow, msPerDraft }: DepthCost): Row[] {
  const rows = streams.flatMap(({ maxDrafts, isDrafted, reach: reachOf }, stream) => {
    let value = Number.POSITIVE_INFINITY;
    return Array.from({ length: maxDrafts }, (_, i): Row => {
      const depth = i + 1;
      const reach = reachOf(depth);
      const ms = msPerRow + (isDrafted ? 0 : msPerDraft(depth));
      value = Math.min(value, ms > 0 ? reach / ms : Number.MAX_VALUE * reach);
      return { stream, depth, isDrafted, reach, ms, value };
    });
  });
  return rows.sort((a, b) => b.value - a.value);
}

/** Takes rows while they raise the rate. */
function fill(rows: readonly Row[], streams: number, baseMs: number): { depths: number[]; rate: number } {
  const depths = Array.from({ length: streams }, () => 0);
  let tokens = streams;
  let ms = baseMs;
  for (const row of rows) {
    if (row.reach * ms < tokens * row.ms) break;
    tokens += row.reach;
    ms += row.ms;
    depths[row.stream]!++;
  }
  return { depths, rate: rateOf(tokens, ms) };
}

function rateOf(tokens: number, ms: number): number {
  return ms > 0 ? tokens / ms : tokens;
}
