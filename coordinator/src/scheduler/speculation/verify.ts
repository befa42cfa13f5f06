/**
 * The drafts of one sequence against the model's own choice. `choose(i)` gives the token after draft i − 1 (after the last known
 * token, for 0), drawn from the model's logits exactly as it would be without drafts, to the reader as well; undefined where
 * the answer ends with it. While the choice is what was drafted, the next row was computed from the right token, and counts.
 * Returns how many drafts were right.
 *
 * This is speculative sampling (Leviathan et al. 2023, algorithm 1; Chen et al. 2023) for a draft that is certain of its token
 * x̃: there q is 1 at x̃ and 0 elsewhere, so x̃ is kept with probability min(1, p(x̃) / q(x̃)) = p(x̃), and else a token is drawn
 * from max(0, p − q), which is p without x̃, normalised. To draw from p and compare does both at once, whatever the draft was
 * made from; and as every token is drawn with the random number that it would have been drawn with, not only the distribution
 * is the same but the answer itself.
 */
export function verifyDrafts(drafts: readonly number[], choose: (index: number) => number | undefined): number {
  let accepted = 0;
  for (;;) {
    const tokenId = choose(accepted);
    if (tokenId === undefined || accepted === drafts.length || tokenId !== drafts[accepted]) return accepted;
    accepted++;
  }
}
