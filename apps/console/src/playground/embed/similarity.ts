import { fields, list, number } from '../chunk.ts';

export interface EmbedBody {
  model: string;
  input: string[];
  [parameter: string]: unknown;
}

/** What the coordinator answered of some texts. */
export interface Embeddings {
  vectors: number[][];
  tokens: number;
}

/** Returns null unless there is an embedding of each text, all equally long. */
export function readEmbeddings(body: unknown, count: number): Embeddings | null {
  const { data, usage } = fields(body);
  const vectors = list(data).map((entry) => list(fields(entry)['embedding']).map(number));
  const [first] = vectors;
  const isWhole = vectors.length === count && first !== undefined && first.length > 0;
  if (!isWhole || vectors.some(({ length }) => length !== first.length)) return null;
  return { vectors, tokens: number(fields(usage)['prompt_tokens']) };
}

/** The cosine of the angle between two embeddings, whose norms are 1. */
export function similarity(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, value, i) => sum + value * b[i]!, 0);
}

/** Which other text each text is most like; null of a single one. */
export function nearest(vectors: readonly (readonly number[])[], of: number): number | null {
  let best: number | null = null;
  for (const [i, vector] of vectors.entries()) {
    if (i === of) continue;
    if (best === null || similarity(vector, vectors[of]!) > similarity(vectors[best]!, vectors[of]!)) best = i;
  }
  return best;
}
