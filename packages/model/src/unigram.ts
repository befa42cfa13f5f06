import type { Tokenizer as HfTokenizer } from '@huggingface/tokenizers';
import { z } from 'zod';
import { ModelError } from './errors.ts';

/** As `model` of tokenizer.json has it. */
export const unigramSchema = z.looseObject({
  type: z.literal('Unigram'),
  unk_id: z.int().min(0),
  vocab: z
    .array(z.tuple([z.string(), z.number()]))
    .min(1)
    .max(1 << 22),
  byte_fallback: z.boolean().default(false),
});
export type UnigramSpec = z.infer<typeof unigramSchema>;

/** Added to the lowest score: that of an unknown character (SentencePiece's kUnkPenalty). */
const UNKNOWN_PENALTY = 10;

/** How the best tokens up to a character end. */
interface Best {
  start: number;
  score: number;
  /** Undefined for an unknown character. */
  piece: string | undefined;
}

/**
 * SentencePiece's Unigram model (Kudo 2018): of all ways to cut a word into pieces of the vocabulary, that with the highest sum of
 * scores, found with the Viterbi algorithm in the order of Hugging Face's `tokenizers` (of equal sums the one found first). Time is
 * proportional to the text times the longest piece.
 */
export class Unigram {
  readonly #scores: ReadonlyMap<string, number>;
  readonly #unknownScore: number;
  readonly #longest: number;

  constructor({ vocab }: UnigramSpec) {
    this.#scores = new Map(vocab);
    let [lowest, longest] = [Number.POSITIVE_INFINITY, 1];
    for (const [piece, score] of vocab) {
      lowest = Math.min(lowest, score);
      longest = Math.max(longest, piece.length);
    }
    this.#unknownScore = lowest - UNKNOWN_PENALTY;
    this.#longest = longest;
  }

  /** The pieces of a word; unknown characters in a row are one, as they stand. */
  cut(word: string): string[] {
    const best: (Best | undefined)[] = [];
    for (let start = 0; start < word.length;) {
      const before = start === 0 ? 0 : best[start]!.score;
      const width = word.codePointAt(start)! > 0xffff ? 2 : 1;
      const offer = (end: number, score: number, piece: string | undefined): void => {
        const known = best[end];
        if (known === undefined || before + score > known.score) best[end] = { start, score: before + score, piece };
      };
      let hasCharacter = false;
      const most = Math.min(word.length, start + this.#longest);
      for (let end = start + width; end <= most; end++) {
        const piece = word.slice(start, end);
        const score = this.#scores.get(piece);
        if (score === undefined) continue;
        offer(end, score, piece);
        hasCharacter ||= end === start + width;
      }
      if (!hasCharacter) offer(start + width, this.#unknownScore, undefined);
      start += width;
    }
    return piecesOf(word, best);
  }
}

/** The way back from the word's end. */
function piecesOf(word: string, best: readonly (Best | undefined)[]): string[] {
  const pieces: string[] = [];
  let unknownEnd: number | undefined;
  let end = word.length;
  while (end > 0) {
    const { start, piece } = best[end]!;
    if (piece === undefined) unknownEnd ??= end;
    else {
      if (unknownEnd !== undefined) pieces.push(word.slice(end, unknownEnd));
      unknownEnd = undefined;
      pieces.push(piece);
    }
    end = start;
  }
  if (unknownEnd !== undefined) pieces.push(word.slice(0, unknownEnd));
  return pieces.reverse();
}

/** Of the library's model, what its types leave out. */
interface LibraryModel {
  vocab: string[];
  tokens_to_ids: Map<string, number>;
  fuse_unk: boolean;
  unk_token: string | undefined;
  unk_token_id: number | undefined;
  encode(words: string[]): string[];
}

/** A tokenizer.json whose Unigram model is left out, since the library would make a trie of 200 MB of it; `installUnigram` adds it. Throws a ModelError. */
export function withoutPieces(json: object, spec: UnigramSpec): object {
  if (spec.byte_fallback) {
    const problem = 'byte_fallback is true; this version reads Unigram models without it';
    throw new ModelError('unsupported', 'model', `tokenizer.json: model.${problem}`);
  }
  const unknown = spec.vocab[spec.unk_id];
  if (!unknown)
    throw new ModelError('bad-tokenizer', 'model', 'tokenizer.json: model.unk_id is outside the vocabulary');
  return { ...json, model: { ...spec, vocab: [unknown], unk_id: 0 } };
}

/** Has a library's tokenizer that was made of `withoutPieces` cut words as the model says. */
export function installUnigram(hf: HfTokenizer, spec: UnigramSpec): void {
  const unknown = spec.vocab[spec.unk_id]!;
  const unigram = new Unigram(spec);
  const model = hf.model as unknown as LibraryModel;
  const added = [...model.tokens_to_ids].filter(([token]) => token !== unknown[0]);
  model.vocab = spec.vocab.map(([piece]) => piece);
  model.tokens_to_ids = new Map(model.vocab.map((piece, id) => [piece, id]));
  for (const [token, id] of added) {
    model.tokens_to_ids.set(token, id);
    model.vocab[id] = token;
  }
  model.unk_token = unknown[0];
  model.unk_token_id = spec.unk_id;
  // Within a word `cut` does so; tokens of different words stay apart.
  model.fuse_unk = false;
  model.encode = (words) => words.flatMap((word) => unigram.cut(word));
}
