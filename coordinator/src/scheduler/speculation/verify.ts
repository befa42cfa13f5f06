import type { DraftTree } from './draft-tree.ts';

/**
 * Walks down the drafts of one sequence as far as they are the model's own choice, and returns the nodes on the way.
 * `choose(node)` takes the token after a node (−1: after the last known token), drawn from the model's logits exactly as without
 * drafts; undefined if the answer ends with it. While a child of the node is the chosen token, its row was computed from the
 * right tokens and counts.
 *
 * This is speculative sampling (Leviathan et al. 2023, algorithm 1; Chen et al. 2023; over trees Miao et al. 2024, SpecInfer) for
 * a draft that is a point mass at x̃: q is 1 at x̃, so x̃ is kept with probability min(1, p(x̃) / q(x̃)) = p(x̃), and otherwise a
 * token is drawn from max(0, p − q), which is p without x̃, normalised, and compared with the next child. Drawing from p and
 * comparing with all children does this at once. Since every token is drawn with the random number that it would have had
 * without drafts, even the answer itself is the same.
 */
export function verifyDrafts(
  { tokens, parents }: DraftTree,
  choose: (node: number) => number | undefined,
): readonly number[] {
  const path: number[] = [];
  for (;;) {
    const at = path.at(-1) ?? -1;
    const tokenId = choose(at);
    const next = tokenId === undefined ? -1 : tokens.findIndex((token, i) => token === tokenId && parents[i] === at);
    if (next < 0) return path;
    path.push(next);
  }
}
