import { expect, it } from 'vitest';
import { createRng } from '../rng.ts';
import { answerQuery, type SamplingParams, type TokenAnswer } from '../token-query.ts';
import { DraftVocabulary } from './draft-vocabulary.ts';

const VOCAB = 40;
const TOKENS = Int32Array.from([2, 3, 7, 11, 12, 19, 23, 31, 38]);

it('DraftVocabulary answers as the whole vocabulary with −∞ for all other tokens would', () => {
  const rng = createRng(3);
  const vocabulary = new DraftVocabulary(TOKENS);
  for (let run = 0; run < 300; run++) {
    const own = Float32Array.from(TOKENS, () => 4 * rng() - 2);
    const all = new Float32Array(VOCAB).fill(Number.NEGATIVE_INFINITY);
    for (const [i, token] of TOKENS.entries()) all[token] = own[i]!;
    const any = (): number => Math.floor(rng() * VOCAB);
    const seen = new Set(Array.from({ length: 6 }, any));
    const token: SamplingParams = {
      temperature: [0, 0.7, 1.3][run % 3]!,
      topP: run % 2 ? 0.8 : 1,
      topK: run % 5 === 0 ? 4 : 0,
      uniform: rng(),
      changes: {
        biases: new Map([
          [any(), 2 * rng()],
          [any(), Number.NEGATIVE_INFINITY],
        ]),
        penalties: {
          repetition: 1.2,
          frequency: 0.3,
          presence: 0.1,
          seen: Int32Array.from([...seen].flatMap((id) => [id, Math.floor(rng() * 3)])),
        },
      },
    };
    const query = { token, topLogprobs: 4 };
    const expected = answerQuery(all, query) as TokenAnswer;
    const got = vocabulary.answerOf(answerQuery(own, vocabulary.queryOf(query))) as TokenAnswer;
    expect(got).toEqual(expected);
  }
});
