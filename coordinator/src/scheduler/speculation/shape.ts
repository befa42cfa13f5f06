import type { DraftTree } from './draft-tree.ts';

/** Drafts that a pass may verify, and how likely each is. */
export interface PossibleDrafts extends DraftTree {
  /** Probability that the drafts up to a node, it included, are all right; at most its parent's. */
  readonly chances: readonly number[];
  /** As `Confidence` counts them. */
  readonly kinds: readonly number[];
}

export interface ShapedStream {
  drafts: PossibleDrafts;
  /** Nodes that are taken at most. */
  limit: number;
  /** The likeliest path is taken to this depth at least, to learn how likely it is. */
  leastDepth: number;
}

export interface ShapeCost {
  /** Time of the pass without these drafts, that of drafting included, and of one more row. */
  passMs: number;
  msPerRow: number;
  /** Tokens that the pass is expected to give without these drafts. */
  tokens: number;
  /** Nodes of all sequences together at most: what so many rows cost is known. */
  room: number;
}

/** Drafts that are less likely are not worth their rows: the same time gives more tokens elsewhere. */
export function leastChance({ passMs, msPerRow, tokens }: Omit<ShapeCost, 'room'>): number {
  return msPerRow > 0 ? (tokens * msPerRow) / passMs : 0;
}

/**
 * Chooses the nodes of each sequence's tree that a pass verifies: those that maximise the expected tokens per second. Of all
 * sequences' nodes the likeliest come first, while one adds more tokens than its row's time would give elsewhere (as Sequoia,
 * Chen et al. 2024, and EAGLE-2, Li et al. 2024, grow trees, with measured costs in place of a fixed size). So there are branches
 * where a drafter is unsure, depth where it is sure, and where rows are dear neither.
 */
export function chooseNodes(
  streams: readonly ShapedStream[],
  { passMs, msPerRow, tokens, room }: ShapeCost,
): PossibleDrafts[] {
  const taken = streams.map((stream) => leastNodes(stream));
  let ms = passMs;
  let expected = tokens;
  let left = room;
  for (const [s, nodes] of taken.entries()) {
    ms += msPerRow * nodes.size;
    left -= nodes.size;
    for (const node of nodes) expected += streams[s]!.drafts.chances[node]!;
  }
  const rest = streams.flatMap(({ drafts }, s) => drafts.chances.map((chance, node) => ({ s, node, chance })));
  // Stable, and chances fall along a path: none is taken before its parent.
  rest.sort((a, b) => b.chance - a.chance);
  for (const { s, node, chance } of rest) {
    if (left <= 0 || chance < leastChance({ passMs: ms, msPerRow, tokens: expected })) break;
    if (taken[s]!.has(node) || taken[s]!.size >= streams[s]!.limit) continue;
    taken[s]!.add(node);
    left--;
    expected += chance;
    ms += msPerRow;
  }
  return streams.map(({ drafts }, s) => part(drafts, taken[s]!));
}

/** The nodes of the likeliest path to the least depth. */
function leastNodes({ drafts, leastDepth, limit }: ShapedStream): Set<number> {
  const nodes = new Set<number>();
  let at = -1;
  for (let depth = 0; depth < Math.min(leastDepth, limit); depth++) {
    let next = -1;
    for (const [node, parent] of drafts.parents.entries()) {
      if (parent === at && (next < 0 || drafts.chances[node]! > drafts.chances[next]!)) next = node;
    }
    if (next < 0) break;
    nodes.add((at = next));
  }
  return nodes;
}

/** Some of a tree's nodes, each with its parent, as a tree: best paths first, so that a chain of them needs no slots. */
function part(drafts: PossibleDrafts, taken: ReadonlySet<number>): PossibleDrafts {
  const nodes = [...taken].sort((a, b) => a - b);
  const places = new Map(nodes.map((node, i) => [node, i]));
  return {
    tokens: nodes.map((node) => drafts.tokens[node]!),
    parents: nodes.map((node) => places.get(drafts.parents[node]!) ?? -1),
    chances: nodes.map((node) => drafts.chances[node]!),
    kinds: nodes.map((node) => drafts.kinds[node]!),
  };
}
