import { argmax, createReferenceEngine, forward, forwardMtp, KvCache, moeLayers, scorePerplexity } from '@shoal/model';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  continueGreedily,
  goldenCases,
  heldOutPerplexity,
  heldOutText,
  nmse,
  openTinyStories,
  prefill,
  type TinyStories,
} from './tiny-stories.ts';

let tiny: TinyStories;
beforeAll(async () => {
  tiny = await openTinyStories();
});
afterAll(() => tiny.checkpoint.close());

describe.each(goldenCases)('golden: $prompt', (golden) => {
  it('is encoded to the same ids, and the answer decoded to the same text', () => {
    expect(tiny.tokenizer.encodePrompt(golden.prompt)).toEqual(golden.prompt_ids);
    const text = tiny.tokenizer.decode(golden.greedy_ids);
    expect(text).toBe(golden.greedy_text.replaceAll('<|endoftext|>', ''));
  });

  it('gives the same last logits (NMSE ≤ 1e-6) and chooses the same experts', async () => {
    const { model, experts } = tiny;
    const cache = new KvCache(model.config);
    const last = golden.prompt_ids.length - 1;
    const chosen = new Map<number, number[]>();
    const k = model.config.numExpertsPerTok;
    const rows = golden.prompt_ids.map((tokenId, position) => ({
      tokenId,
      position,
      cache,
      wantLogits: position === last,
    }));
    const { logits } = await forward(model, rows, experts, {
      gate: (layer, topkIdx) =>
        chosen.set(
          layer,
          [...topkIdx.subarray(last * k)].sort((a, b) => a - b),
        ),
    });
    expect(nmse(logits[last]!, golden.last_logits)).toBeLessThanOrEqual(1e-6);
    expect(logits.slice(0, last).every((row) => row === undefined)).toBe(true);
    expect([...chosen.keys()]).toEqual(moeLayers(model.config));
    expect([...chosen.values()]).toEqual(golden.last_token_experts);
  });

  it('continues greedily with the same ids', async () => {
    expect(await continueGreedily(tiny, golden.prompt_ids, 48)).toEqual(golden.greedy_ids);
  });

  it('makes the same choices in the MTP module, whole or in two parts, and then on its own hidden states', async () => {
    const { model, experts } = tiny;
    const { hiddenSize } = model.config;
    const ids = golden.prompt_ids;
    const { hidden } = await prefill(tiny, ids, new KvCache(model.config));
    const cache = new KvCache(model.config, 1);
    const rows = ids.slice(1).map((nextTokenId, position) => {
      const h = hidden.subarray(position * hiddenSize, (position + 1) * hiddenSize);
      return { hidden: h, nextTokenId, position, cache, wantLogits: position === ids.length - 2 };
    });
    const whole = await forwardMtp(model, rows, experts);
    const last = whole.logits.at(-1)!;
    expect(argmax(last)).toBe(golden.last_mtp_argmax);
    cache.truncate(0);
    const half = Math.floor(rows.length / 2);
    await forwardMtp(model, rows.slice(0, half), experts);
    const parts = await forwardMtp(model, rows.slice(half), experts);
    expect(parts.logits.at(-1)).toEqual(last);

    const drafts = [argmax(last)];
    let result = parts;
    while (drafts.length < golden.mtp_drafts.length) {
      const own = result.hidden.slice(-hiddenSize);
      const row = { hidden: own, nextTokenId: drafts.at(-1)!, position: cache.length, cache, wantLogits: true };
      result = await forwardMtp(model, [row], experts);
      drafts.push(argmax(result.logits[0]!));
    }
    expect(drafts).toEqual(golden.mtp_drafts);
  });

  it('is prefilled whole, in chunks and token by token with the same bits', async () => {
    const ids = [...golden.prompt_ids, ...golden.greedy_ids];
    const { config } = tiny.model;
    const whole = await prefill(tiny, ids, new KvCache(config));
    for (const chunkRows of [7, 1]) {
      const part = await prefill(tiny, ids, new KvCache(config), chunkRows);
      expect(part.logits.at(-1)).toEqual(whole.logits.at(-1));
    }
  });
});

describe('a batch of several sequences', () => {
  it('gives every row the bits that it has alone, prefill and decode mixed', async () => {
    const { model, experts } = tiny;
    const alone: Float32Array[] = [];
    for (const { prompt_ids: ids } of goldenCases) {
      alone.push((await prefill(tiny, ids, new KvCache(model.config))).logits.at(-1)!);
    }
    const rows = [];
    for (const [i, { prompt_ids: ids }] of goldenCases.entries()) {
      const cache = new KvCache(model.config);
      // Sequence i has already read some of its tokens, so that chunks of many lengths meet.
      const done = Math.min(i, ids.length - 1);
      if (done > 0) await prefill(tiny, ids.slice(0, done), cache);
      for (let position = done; position < ids.length; position++) {
        rows.push({ tokenId: ids[position]!, position, cache, wantLogits: position === ids.length - 1 });
      }
    }
    const { logits } = await forward(model, rows, experts);
    expect(logits.filter((row) => row !== undefined)).toEqual(alone);
  });
});

describe('held-out text', () => {
  it('has the perplexity that an independent implementation computes', async () => {
    const { model, tokenizer, experts } = tiny;
    const score = await scorePerplexity(createReferenceEngine(model), tokenizer, heldOutText, experts);
    expect(score.tokens).toBe(heldOutPerplexity.tokens);
    expect(score.documents).toBe(heldOutPerplexity.documents.length);
    // float32 against float64: the sum of 2,476 terms agrees to a few parts in 10⁵.
    expect(Math.abs(score.nll / heldOutPerplexity.nll - 1)).toBeLessThan(1e-4);
    expect(score.perplexity).toBeCloseTo(heldOutPerplexity.perplexity, 4);
  });
});
