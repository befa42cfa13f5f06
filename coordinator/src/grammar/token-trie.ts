import { bytesOfToken, type Vocabulary } from './vocabulary.ts';

/** The tokens that are text, as a tree by their bytes, written down from the root with each node before its children. */
export interface TokenTrie {
  readonly nodes: number;
  /** Of each node: its byte, its depth (1 is a token's first byte), and where the first node is that is not below it. */
  readonly bytes: Uint8Array;
  readonly depths: Uint16Array;
  readonly ends: Int32Array;
  /** The token that ends at a node, or -1; and of each token the next one of the same bytes, or -1. */
  readonly tokens: Int32Array;
  readonly sameBytes: Int32Array;
  readonly maxDepth: number;
}

/** No token of text is longer than this in published vocabularies; longer ones are never allowed. */
const MAX_TOKEN_BYTES = 4_096;

export function tokenTrie(vocabulary: Vocabulary): TokenTrie {
  const sorted = sortedTokens(vocabulary);
  const shared = sorted.map(({ text }, index) => commonPrefix(sorted[index - 1]?.text ?? '', text));
  const nodes = sorted.reduce((sum, { text }, index) => sum + text.length - shared[index]!, 0);
  const bytes = new Uint8Array(nodes);
  const depths = new Uint16Array(nodes);
  const ends = new Int32Array(nodes);
  const tokens = new Int32Array(nodes).fill(-1);
  const sameBytes = new Int32Array(vocabulary.size).fill(-1);
  /** The node at each depth that the present token is below. */
  const path: number[] = [];
  let next = 0;
  for (const [index, { id, text }] of sorted.entries()) {
    for (const node of path.splice(shared[index]!)) ends[node] = next;
    for (let depth = shared[index]!; depth < text.length; depth++) {
      path.push(next);
      bytes[next] = text.charCodeAt(depth);
      depths[next++] = depth + 1;
    }
    const node = path.at(-1)!;
    sameBytes[id] = tokens[node]!;
    tokens[node] = id;
  }
  for (const node of path) ends[node] = next;
  const maxDepth = depths.reduce((most, depth) => Math.max(most, depth), 0);
  return { nodes, bytes, depths, ends, tokens, sameBytes, maxDepth };
}

/** With a character for each byte. */
function sortedTokens(vocabulary: Vocabulary): { id: number; text: string }[] {
  const others = new Set([...vocabulary.specialIds, ...vocabulary.endIds]);
  const idsOf = new Map<string, number[]>();
  for (let id = 0; id < vocabulary.size; id++) {
    const bytes = bytesOfToken(vocabulary, id);
    if (others.has(id) || bytes.length === 0 || bytes.length > MAX_TOKEN_BYTES) continue;
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
    const ids = idsOf.get(text);
    if (ids) ids.push(id);
    else idsOf.set(text, [id]);
  }
  // Without a function to compare, strings are sorted by their code units, and several times as fast.
  return [...idsOf.keys()].sort().flatMap((text) => idsOf.get(text)!.map((id) => ({ id, text })));
}

function commonPrefix(a: string, b: string): number {
  let length = 0;
  while (length < a.length && a.charCodeAt(length) === b.charCodeAt(length)) length++;
  return length;
}
