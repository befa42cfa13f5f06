/**
 * The merges of a SentencePiece BPE vocabulary, which stores scores of its pieces instead: every way to put a piece together from
 * two others, best score first, as transformers orders them (convert_slow_tokenizer.py, `generate_merges`). `ids` has every piece.
 */
export function mergesOfScores(
  pieces: readonly string[],
  ids: Readonly<Record<string, number>>,
  scores: readonly number[],
): [string, string][] {
  const merges: { left: string; right: string; score: number }[] = [];
  for (const piece of pieces) {
    const characters = [...piece];
    const ways: [left: string, right: string][] = [];
    for (let at = 1; at < characters.length; at++) {
      const [left, right] = [characters.slice(0, at).join(''), characters.slice(at).join('')];
      if (left in ids && right in ids) ways.push([left, right]);
    }
    ways.sort((a, b) => ids[a[0]]! - ids[b[0]]! || ids[a[1]]! - ids[b[1]]!);
    const score = scores[ids[piece]!]!;
    for (const [left, right] of ways) merges.push({ left, right, score });
  }
  const length = (text: string): number => [...text].length;
  // Equal ones keep their order.
  merges.sort((a, b) => b.score - a.score || length(b.left) - length(a.left) || length(b.right) - length(a.right));
  return merges.map(({ left, right }) => [left, right]);
}
