import { expect, it } from 'vitest';
import { nearest, readEmbeddings, similarity } from './similarity.ts';

const answer = (...embeddings: unknown[]) => ({
  data: embeddings.map((embedding, index) => ({ object: 'embedding', index, embedding })),
  usage: { prompt_tokens: 7, total_tokens: 7 },
});

it('reads an embedding of each text, and nothing less', () => {
  expect(readEmbeddings(answer([1, 0], [0, 1]), 2)).toEqual({
    vectors: [
      [1, 0],
      [0, 1],
    ],
    tokens: 7,
  });
  for (const wrong of [answer([1, 0]), answer([1, 0], [1]), answer([], []), answer('AACAPw==', 'AAAAAA=='), {}, null]) {
    expect(readEmbeddings(wrong, 2), JSON.stringify(wrong)).toBeNull();
  }
});

it('finds the text that is most like another', () => {
  const vectors = [
    [1, 0],
    [0.6, 0.8],
    [0.8, 0.6],
  ];
  expect(similarity(vectors[1]!, vectors[2]!)).toBeCloseTo(0.96, 12);
  expect(vectors.map((_, i) => nearest(vectors, i))).toEqual([2, 2, 1]);
  expect(nearest([[1, 0]], 0)).toBeNull();
});
