/** After these a full stop ends no sentence. */
const TITLES = /\b(Mr|Mrs|Ms|Dr|St|Prof)\.$/;
/** A sentence's last sign with the quotes and brackets that belong to it. */
const END = /[.!?…]+["'”’»)\]]*/g;

/**
 * Where the first sentence ends that ends at `from` or later: the index after its last sign. Undefined while it isn't certain, since
 * what comes next may still belong to it; at the end of the whole text (`isWhole`) it is.
 */
export function sentenceEnd(text: string, from: number, isWhole = false): number | undefined {
  for (const { 0: sign, index } of text.matchAll(END)) {
    const end = index + sign.length;
    if (end < from || TITLES.test(text.slice(0, end))) continue;
    if (end === text.length ? isWhole : /\s/.test(text[end]!)) return end;
  }
  return undefined;
}

/** The text's whole sentences; all of it with an ellipsis where it has none. */
export function wholeSentences(text: string): string {
  let end: number | undefined;
  for (let next = sentenceEnd(text, 0, true); next !== undefined; next = sentenceEnd(text, next + 1, true)) end = next;
  return end === undefined ? `${text} …` : text.slice(0, end);
}
