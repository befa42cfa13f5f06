import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openWasmEngine } from '@shoal/kernels/node';
import {
  addSinusoid,
  distanceBucket,
  encodeSource,
  type ForwardEngine,
  type ForwardObserver,
  moeLayers,
  NO_EXPERT,
} from '@shoal/model';
import { loadTokenizer } from '@shoal/model/node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CommandIo } from '../../coordinator/src/cli/command.ts';
import { inProcess } from '../../coordinator/src/cli/in-process.ts';
import { runPack } from '../../coordinator/src/cli/pack.ts';
import { sourcePrompt } from '../../coordinator/src/cli/source-prompt.ts';
import { encoded, greedyIds, openSeq2Seq, type Seq2Seq, seq2seqDir, seq2seqFixtures } from './seq2seq.ts';
import { nmse } from './tiny-stories.ts';

describe.each(seq2seqFixtures)('the engines on %s', (name) => {
  let model: Seq2Seq;
  let wasm: ForwardEngine;
  beforeAll(async () => {
    model = await openSeq2Seq(name);
    const { config, checkpoint: reader } = model;
    wasm = await openWasmEngine({ config, weights: { reader, format: 'f16' }, threads: 1 });
  });
  afterAll(async () => {
    await wasm.close();
    await model.checkpoint.close();
  });

  /** Takes note of what gates choose: [layers, rows] of [expert, weight], experts ascending. */
  function listen() {
    const chosen: [number, number][][][] = [];
    const observe: ForwardObserver = {
      gate: (_layer, topkIdx, topkWeights, { logits }) => {
        const numRows = logits.length / model.config.nRoutedExperts;
        const k = topkIdx.length / numRows;
        chosen.push(
          Array.from({ length: numRows }, (_, row) =>
            Array.from({ length: k }, (_, i): [number, number] => [topkIdx[row * k + i]!, topkWeights[row * k + i]!])
              .filter(([expert]) => expert !== NO_EXPERT)
              .sort(([a], [b]) => a - b),
          ),
        );
      },
    };
    return { chosen, observe };
  }

  /** The encoder's rows of these sources, and what its gates have chosen. */
  async function encode(sources: readonly (readonly number[])[]) {
    const { config, experts } = model;
    const { chosen, observe } = listen();
    const { hidden } = await encodeSource(model.model, sources, experts, observe);
    expect(chosen).toHaveLength(moeLayers(config).filter((layer) => layer < config.seq2seq!.encoderLayers).length);
    return { hidden, chosen };
  }

  it('encodes sources as transformers does (NMSE ≤ 1e-8), whose experts drop the same rows, whatever shares a pass', async () => {
    const { reference, encoder, config, chosen, weights } = model;
    const { hidden, chosen: ours } = await encode(reference.sources);
    expectClose(hidden, encoder, config.hiddenSize);
    const last = reference.sources.slice(1);
    const { hidden: without } = await encode(last);
    expect(firstDifference(hidden.subarray(-without.length), without)).toBe(-1);
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
    const caches = await encoded(engine, experts, reference.sources);
    const sequences = reference.targets.map((ids, i) => {
      return { ids, cache: caches[i]!, before: caches[i]!.length, hidden: [] as number[], logits: [] as number[] };
    });
    for (let first = 0; first < Math.max(...reference.targets.map(({ length }) => length)); first += rowsAtOnce) {
      const rows = sequences.flatMap((sequence) =>
        sequence.ids.slice(first, first + rowsAtOnce).map((tokenId, i) => {
          const { cache, before } = sequence;
          return { tokenId, position: before + first + i, cache, wantLogits: true, sequence };
        }),
      );
      const { logits, hidden } = await engine.forward(rows, experts);
      for (const [r, { sequence }] of rows.entries()) {
        sequence.logits.push(...logits[r]!);
        sequence.hidden.push(...hidden.subarray(r * config.hiddenSize, (r + 1) * config.hiddenSize));
      }
    }
    for (const cache of caches) cache.free();
    return {
      hidden: Float32Array.from(sequences.flatMap(({ hidden }) => hidden)),
      logits: Float32Array.from(sequences.flatMap(({ logits }) => logits)),
    };
  }

  it('decodes targets as transformers does with its cache (NMSE ≤ 1e-8), three rows at a time as all at once', async () => {
    const whole = await decode(model.engine, 1000);
    expectClose(whole.hidden, model.hidden, model.config.hiddenSize);
    expectClose(whole.logits, model.logits, model.config.vocabSize);
    const steps = await decode(model.engine, 3);
    expect(firstDifference(whole.logits, steps.logits)).toBe(-1);
  });

  it('drops the same rows in the fast engine, and none of a target', async () => {
    const { reference, experts, config } = model;
    const [theirs, ours, decoding] = [await encode(reference.sources), listen(), listen()];
    const caches = await encoded(wasm, experts, reference.sources, ours.observe);
    const expertsOf = (all: typeof ours.chosen) => all.map((rows) => rows.map((row) => row.map(([expert]) => expert)));
    expect(expertsOf(ours.chosen)).toEqual(expertsOf(theirs.chosen));
    // More rows than some experts have places for, if they were of one source.
    const rows = reference.targets.flatMap((ids, i) =>
      ids.map((tokenId, t) => ({ tokenId, position: caches[i]!.length + t, cache: caches[i]! })),
    );
    await wasm.forward(rows, experts, decoding.observe);
    for (const row of decoding.chosen.flat()) expect(row).toHaveLength(config.numExpertsPerTok);
    for (const cache of caches) cache.free();
  });

  it('decodes them in the fast engine too (NMSE ≤ 1e-5), five rows at a time as all at once', async () => {
    const whole = await decode(wasm, 1000);
    expectClose(whole.hidden, model.hidden, model.config.hiddenSize, 1e-5);
    expectClose(whole.logits, model.logits, model.config.vocabSize, 1e-5);
    const steps = await decode(wasm, 5);
    expect(firstDifference(whole.logits, steps.logits)).toBe(-1);
  });

  it.each(['reference', 'wasm'])('answers with the ids of transformers’ generate in %s', async (which) => {
    const { reference, config } = model;
    const engine = which === 'wasm' ? wasm : model.engine;
    const language = reference.greedy[0]!.ids[1]!;
    const prefix = reference.translated ? [...config.seq2seq!.targetPrefix, language] : config.seq2seq!.targetPrefix;
    for (const { source, ids } of reference.greedy) {
      expect(await greedyIds(model, engine, source, prefix, ids.length)).toEqual(ids);
    }
  });

  it('reads and writes texts as its tokenizer in transformers does, between their language and the end', async () => {
    const { reference, config } = model;
    const tokenizer = await loadTokenizer(seq2seqDir(name));
    for (const { text, ids, decoded } of reference.texts) {
      expect(tokenizer.encodeWhole(text), JSON.stringify(text)).toEqual(ids);
      expect(tokenizer.decode(ids)).toBe(decoded);
    }
    for (const { language: sourceLanguage, text, ids } of reference.translated ?? []) {
      const { prefix, ...source } = sourcePrompt(
        { config, tokenizer },
        { text },
        { sourceLanguage, targetLanguage: 'fra_Latn' },
      );
      expect(source.ids).toEqual(ids);
      expect(prefix).toEqual(reference.greedy[0]!.ids.slice(0, 2));
    }
  });

  it('has the positions of transformers, to float32’s digits', () => {
    for (const { place, values } of model.reference.sinusoids ?? []) {
      const row = new Float32Array(values.length);
      addSinusoid(row, place, 1);
      expect(nmse(row, values), `place ${place}`).toBeLessThan(1e-13);
    }
    for (const { bothWays, of, ...sizes } of model.reference.buckets ?? []) {
      const theirs = of.flatMap(([bucket, count]) => Array<number>(count).fill(bucket));
      expect(theirs.map((_, i) => distanceBucket(i - 400, bothWays, sizes))).toEqual(theirs);
    }
    expect(model.reference.buckets?.length).toBe(model.config.modelType === 'switch_transformers' ? 8 : undefined);
  });
});

describe('shoal', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'shoal-seq2seq-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  async function run(command: (argv: string[], io: CommandIo) => Promise<number>, ...argv: string[]) {
    let [stdout, stderr] = ['', ''];
    const io = {
      stdout: { write: (text: string) => (stdout += text) },
      stderr: { write: (text: string) => (stderr += text) },
    };
    return { code: await command(argv, io), stdout, stderr: () => stderr };
  }

  it('answers with a packed encoder–decoder, experts of both stacks packed', async () => {
    const out = join(folder, 'packed');
    const packed = await run(
      runPack,
      '--model',
      seq2seqDir('nllb-moe'),
      '--out',
      out,
      '--quant',
      'f16',
      '--verify',
      '--json',
    );
    expect(JSON.parse(packed.stdout), packed.stderr()).toMatchObject({ experts: 8, verified: true });
    const { reference } = await openSeq2Seq('nllb-moe');
    const { source, ids } = reference.greedy[0]!;
    const asked = [
      '--ids',
      source.join(),
      '--target-language',
      'fra_Latn',
      '--max-tokens',
      `${ids.length - 2}`,
      '--json',
    ];
    const answer = await run(inProcess.generate, '--model', out, ...asked);
    expect(JSON.parse(answer.stdout), answer.stderr()).toMatchObject({ ids: ids.slice(2), finish_reason: 'length' });
  });

  it.each([
    ['generate', ['nllb-moe', '--prompt', 'a'], '--target-language is missing; the model has deu_Latn'],
    ['generate', ['nllb-moe', '--prompt', 'a', '--target-language', 'fr'], '--target-language fr is not known'],
    ['generate', ['switch', '--prompt', 'a', '--target-language', 'fra_Latn'], 'no languages'],
    ['logits', ['switch', '--prompt', 'a', '--out', 'x'], 'use generate'],
  ] as const)('%s %j: %s', async (command, [name, ...argv], problem) => {
    const { code, stderr } = await run(inProcess[command], '--model', seq2seqDir(name), ...argv);
    expect(code).toBe(2);
    expect(stderr()).toContain(problem);
  });
});

/** Checks each row separately, so that the others hide none. */
function expectClose(values: Float32Array, reference: Float32Array, width: number, limit = 1e-8): void {
  expect(values).toHaveLength(reference.length);
  for (let at = 0; at < values.length; at += width) {
    const error = nmse(values.subarray(at, at + width), reference.subarray(at, at + width));
    expect(error, `row ${at / width}`).toBeLessThanOrEqual(limit);
  }
}

function firstDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return Array.from(a).findIndex((value, i) => !Object.is(value, b[i]));
}
