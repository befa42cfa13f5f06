/**
 * Compares the drafts of one sequence with the model's own choice, and returns how many were right. `choose(i)` takes the token
 * after draft i − 1 (after the last known token, for 0), drawn from the model's logits exactly as without drafts; undefined if
 * the answer ends with it. While the choice equals the draft, the next row was computed from the right token and counts.
 *
 * This is speculative sampling (Leviathan et al. 2023, algorithm 1; Chen et al. 2023) for a draft that is a point mass at x̃: q
 * is 1 at x̃, so x̃ is kept with probability min(1, p(x̃) / q(x̃)) = p(x̃), and otherwise a token is drawn from max(0, p − q),
 * which is p without x̃, normalised. Drawing from p and comparing does both at once. Since every token is drawn with the random
 * number that it would have had without drafts, even the answer itself is the same.
 */
export function verifyDrafts(drafts: readonly number[], choose: (index: number) => number | undefined): number {
  let accepted = 0;
  for (;;) {
    const tokenId = choose(accepted);
    if (tokenId === undefined || accepted === drafts.length || tokenId !== drafts[accepted]) return accepted;
    accepted++;
  }
}
