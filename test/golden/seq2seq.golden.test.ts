import { distanceBucket, encodeSource, type ForwardEngine, moeLayers, NO_EXPERT } from '@shoal/model';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { greedyIds, openSeq2Seq, readAll, type Seq2Seq, seq2seqFixtures } from './seq2seq.ts';
import { nmse } from './tiny-stories.ts';

describe.each(seq2seqFixtures)('the reference on %s', (name) => {
  let model: Seq2Seq;
  beforeAll(async () => {
    model = await openSeq2Seq(name);
  });
  afterAll(() => model.checkpoint.close());

  /** The encoder's rows of these sources, and what its gates have chosen: [layers, rows] of [expert, weight], experts ascending. */
  async function encode(sources: readonly (readonly number[])[]) {
    const { config, experts } = model;
    const chosen: [number, number][][][] = [];
    const { hidden } = await encodeSource(model.model, sources, experts, {
      gate: (_layer, topkIdx, topkWeights) => {
        const numRows = sources.flat().length;
        const k = topkIdx.length / numRows;
        chosen.push(
          Array.from({ length: numRows }, (_, row) =>
            Array.from({ length: k }, (_, i): [number, number] => [topkIdx[row * k + i]!, topkWeights[row * k + i]!])
              .filter(([expert]) => expert !== NO_EXPERT)
              .sort(([a], [b]) => a - b),
          ),
        );
      },
    });
    expect(chosen).toHaveLength(moeLayers(config).filter((layer) => layer < config.seq2seq!.encoderLayers).length);
    return { hidden, chosen };
  }

  it('encodes sources as transformers does at every position (NMSE ≤ 1e-8), together as alone', async () => {
    const { reference, encoder, config } = model;
    const { hidden } = await encode(reference.sources);
    expectClose(hidden, encoder, config.hiddenSize);
    const alone = [];
    for (const source of reference.sources) alone.push(...(await encode([source])).hidden);
    expect(firstDifference(hidden, alone)).toBe(-1);
  });

  it('has the same rows dropped by the same experts, and the same weights', async () => {
    const { reference, config, chosen, weights } = model;
    const { chosen: ours } = await encode(reference.sources);
    const numRows = reference.sources.flat().length;
    const k = config.numExpertsPerTok;
    let kept = 0;
    for (const [layer, rows] of ours.entries()) {
      for (const [row, own] of rows.entries()) {
        const at = (layer * numRows + row) * k;
        const theirs = [...chosen.subarray(at, at + k)].flatMap((expert, i) =>
          expert === NO_EXPERT ? [] : [[expert, expect.closeTo(weights[at + i]!, 5)]],
        );
        expect(own, `layer ${layer}, row ${row}`).toEqual(theirs);
        kept += own.length;
      }
    }
    expect(ours.length * numRows * k - kept).toBe(reference.dropped);
  });

  /** Hidden states and logits of all targets, in passes that take so many rows of each. */
  async function decode(engine: ForwardEngine, rowsAtOnce: number) {
    const { reference, experts, config } = model;
    const sources = await readAll(engine, experts, reference.sources);
    const sequences = reference.targets.map((ids, i) => {
      return { ids, cache: engine.newSequence(), source: sources[i]!, hidden: [] as number[], logits: [] as number[] };
    });
    for (let first = 0; first < Math.max(...reference.targets.map(({ length }) => length)); first += rowsAtOnce) {
      const rows = sequences.flatMap((sequence) =>
        sequence.ids.slice(first, first + rowsAtOnce).map((tokenId, i) => {
          const { cache, source } = sequence;
          return { tokenId, position: first + i, cache, source, wantLogits: true, sequence };
        }),
      );
      const { logits, hidden } = await engine.forward(rows, experts);
      for (const [r, { sequence }] of rows.entries()) {
        sequence.logits.push(...logits[r]!);
        sequence.hidden.push(...hidden.subarray(r * config.hiddenSize, (r + 1) * config.hiddenSize));
      }
    }
    return {
      hidden: Float32Array.from(sequences.flatMap(({ hidden }) => hidden)),
      logits: Float32Array.from(sequences.flatMap(({ logits }) => logits)),
    };
  }

  it('decodes targets as transformers does with its cache (NMSE ≤ 1e-8), one row at a time as all at once', async () => {
    const whole = await decode(model.engine, 1000);
    expectClose(whole.hidden, model.hidden, model.config.hiddenSize);
    expectClose(whole.logits, model.logits, model.config.vocabSize);
    const steps = await decode(model.engine, 1);
    expect(firstDifference(whole.logits, steps.logits)).toBe(-1);
  });

  it('answers with the ids of transformers’ generate', async () => {
    const { reference, engine, config } = model;
    const language = reference.greedy[0]!.ids[1]!;
    const prefix = reference.translated ? [...config.seq2seq!.targetPrefix, language] : config.seq2seq!.targetPrefix;
    for (const { source, ids } of reference.greedy) {
      expect(await greedyIds(model, engine, source, prefix, ids.length)).toEqual(ids);
    }
  });

  it('puts distances into the buckets of transformers', () => {
    for (const { bothWays, of, ...sizes } of model.reference.buckets ?? []) {
      const theirs = of.flatMap(([bucket, count]) => Array<number>(count).fill(bucket));
      expect(theirs.map((_, i) => distanceBucket(i - 400, bothWays, sizes))).toEqual(theirs);
    }
    expect(model.reference.buckets?.length).toBe(model.config.modelType === 'switch_transformers' ? 8 : undefined);
  });
});

/** Checks each row separately, so that the others hide none. */
function expectClose(values: Float32Array, reference: Float32Array, width: number): void {
  expect(values).toHaveLength(reference.length);
  for (let at = 0; at < values.length; at += width) {
    const error = nmse(values.subarray(at, at + width), reference.subarray(at, at + width));
    expect(error, `row ${at / width}`).toBeLessThanOrEqual(1e-8);
  }
}

function firstDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return Array.from(a).findIndex((value, i) => !Object.is(value, b[i]));
}
