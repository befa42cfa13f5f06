import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseModelConfig } from './config.ts';
import { forward } from './forward.ts';
import { createReferenceEngine } from './forward-engine.ts';
import { KvCache } from './kv-cache.ts';
import { scorePerplexity } from './perplexity.ts';
import { logSoftmaxAt } from './sampler.ts';
import { noExperts, smallConfigJson, smallWeights } from './testing/small-model.ts';
import { Tokenizer } from './tokenizer.ts';
import { loadDenseWeights } from './weights.ts';

const CONTEXT = 8;
const config = parseModelConfig({ ...smallConfigJson, vocab_size: 2048, max_position_embeddings: CONTEXT });
const model = { config, weights: await loadDenseWeights(config, smallWeights) };

const dir = join(import.meta.dirname, '../../../models/tiny-stories');
const readJson = (name: string): unknown => JSON.parse(readFileSync(join(dir, name), 'utf8'));
const tokenizer = new Tokenizer(readJson('tokenizer.json'), readJson('tokenizer_config.json'));

/** −ln p of ids after <bos>, in one pass. */
async function nllOf(ids: number[]): Promise<number> {
  const cache = new KvCache(config);
  const rows = [0, ...ids.slice(0, -1)].map((tokenId, position) => ({ tokenId, position, cache, wantLogits: true }));
  const { logits } = await forward(model, rows, noExperts);
  return logits.reduce((sum, row, i) => sum - logSoftmaxAt(row!, ids[i]!), 0);
}

describe('scorePerplexity', () => {
  it('counts every token of each document and its end, in chunks of any size', async () => {
    const [one, two] = ['Tom ran.', 'A red ball'];
    const expected = (await nllOf([...tokenizer.encode(one), 0])) + (await nllOf([...tokenizer.encode(two), 0]));
    const tokens = tokenizer.encode(one).length + tokenizer.encode(two).length + 2;
    for (const chunkRows of [1, 3, 64]) {
      const progress: number[] = [];
      const score = await scorePerplexity(
        createReferenceEngine(model),
        tokenizer,
        `\n${one}\n<|endoftext|> ${two}<|endoftext|>\n`,
        noExperts,
        {
          chunkRows,
          onProgress: (done, total) => progress.push(done / total),
        },
      );
      expect(score).toMatchObject({ tokens, documents: 2 });
      expect(score.nll).toBeCloseTo(expected, 9);
      expect(score.perplexity).toBeCloseTo(Math.exp(expected / tokens), 9);
      expect(progress.at(-1)).toBe(1);
    }
  });

  it('scores a document longer than the context in windows, each from a fresh start', async () => {
    const text = 'One day a little girl saw a big red ball in the tree and ran home.';
    const ids = [...tokenizer.encode(text), 0];
    expect(ids.length).toBeGreaterThan(2 * CONTEXT);
    let expected = 0;
    for (let start = 0; start < ids.length; start += CONTEXT)
      expected += await nllOf(ids.slice(start, start + CONTEXT));
    const score = await scorePerplexity(createReferenceEngine(model), tokenizer, text, noExperts);
    expect(score).toMatchObject({ tokens: ids.length, documents: 1 });
    expect(score.nll).toBeCloseTo(expected, 9);
  });

  it('refuses a text without a document', async () => {
    await expect(
      scorePerplexity(createReferenceEngine(model), tokenizer, ' <|endoftext|>\n', noExperts),
    ).rejects.toThrow(RangeError);
  });
});
