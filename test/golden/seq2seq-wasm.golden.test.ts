import { openWasmEngine } from '@shoal/kernels/node';
import { type ForwardEngine, moeLayers, NO_EXPERT } from '@shoal/model';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { greedyIds, openSeq2Seq, openSources, type Seq2Seq, seq2seqFixtures } from './seq2seq.ts';
import { nmse } from './tiny-stories.ts';

describe.each(seq2seqFixtures)('the wasm engine on %s', (name) => {
  let model: Seq2Seq;
  let engine: ForwardEngine;
  beforeAll(async () => {
    model = await openSeq2Seq(name);
    const { config, checkpoint: reader } = model;
    engine = await openWasmEngine({ config, weights: { reader, format: 'f32' }, threads: 2, kvBytes: 2 ** 20 });
  });
  afterAll(async () => {
    await engine.close();
    await model.checkpoint.close();
  });

  it('drops the same rows in the encoder and none in the decoder, and has transformers’ logits (NMSE ≤ 1e-5)', async () => {
    const { reference, config, experts, chosen, logits: expected } = model;
    const { encoderLayers } = config.seq2seq!;
    const [k, numRows] = [config.numExpertsPerTok, reference.sources.flat().length];
    const kept: number[][] = [];
    const caches = await openSources(engine, experts, reference.sources, {
      gate: (_layer, topkIdx) => {
        const perRow = topkIdx.length / numRows;
        for (let row = 0; row < numRows; row++) {
          const own = topkIdx.slice(row * perRow, (row + 1) * perRow);
          kept.push([...own].filter((expert) => expert !== NO_EXPERT).sort((a, b) => a - b));
        }
      },
    });
    const theirs = Array.from({ length: chosen.length / k }, (_, i) =>
      [...chosen.subarray(i * k, (i + 1) * k)].filter((expert) => expert !== NO_EXPERT),
    );
    expect(kept).toEqual(theirs);
    expect(kept).toHaveLength(numRows * moeLayers(config).filter((layer) => layer < encoderLayers).length);

    const rows = reference.targets.flatMap((ids, i) =>
      ids.map((tokenId, t) => ({ tokenId, position: caches[i]!.length + t, cache: caches[i]!, wantLogits: true })),
    );
    const { logits } = await engine.forward(rows, experts, {
      gate: (_layer, topkIdx) => expect(topkIdx).not.toContain(NO_EXPERT),
    });
    const { vocabSize } = config;
    for (const [r, row] of logits.entries()) {
      const error = nmse(row!, expected.subarray(r * vocabSize, (r + 1) * vocabSize));
      expect(error, `row ${r}`).toBeLessThanOrEqual(1e-5);
    }
    for (const cache of caches) cache.free();
  });

  it('answers with the ids of transformers’ generate', async () => {
    const { reference, config } = model;
    const { targetPrefix } = config.seq2seq!;
    for (const { source, ids } of reference.greedy) {
      const prefix = reference.translated ? [...targetPrefix, ids[1]!] : targetPrefix;
      expect(await greedyIds(model, engine, source, prefix, ids.length)).toEqual(ids);
    }
  });
});
