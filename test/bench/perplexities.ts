import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ExpertDispatch, scoredWindows } from '@shoal/model';
import { loadTokenizer } from '@shoal/model/node';
import { ROW_FORMATS, type RowFormat, roundedRows } from '@shoal/protocol';
import type { DenseFormat, Quant } from '@shoal/weights';
import { exportGguf, type GgufType, openModel, packModel } from '@shoal/weights/node';
import { openExperts } from '../../coordinator/src/cli/in-process-experts.ts';
import { openDenseEngine } from '../../coordinator/src/dense-engine.ts';
import { TINY_STORIES } from '../integration/golden.ts';
import { openLlamaCpp } from '../llama/llama-cpp.ts';

const HELD_OUT = join(import.meta.dirname, '../golden/fixtures/held-out.txt');

const PAIRS: readonly [Quant & DenseFormat, GgufType][] = [
  ['f16', 'f16'],
  ['q8', 'q8_0'],
  ['q4', 'q4_0'],
];

/** The accuracy of the model in one format. */
export interface Score {
  perplexity: number;
  /** Mean over all positions of Σ p ln(p / q), in nats; q: the format's distribution, p: the float32 reference's. */
  divergence: number;
}

export interface Comparison {
  format: Quant;
  ours: Score;
  theirFormat: GgufType;
  theirs: Score;
}

/** The same model with its rows sent to tabs and back in one format. */
export interface WireScore {
  format: Quant;
  rowFormat: RowFormat;
  score: Score;
}

/** Probabilities of the next token: [positions of all windows][vocabSize]. */
type Distributions = Float32Array[];

/**
 * Compares the default model in our formats with llama.cpp's formats of the same bits. Over a few thousand tokens a
 * format's perplexity may rise or fall by chance; its divergence from the exact distribution is more telling.
 */
export async function perplexities(): Promise<{ formats: Comparison[]; wire: WireScore[] }> {
  const dir = await mkdtemp(join(tmpdir(), 'shoal-perplexity-'));
  try {
    const { config, close } = await openModel(TINY_STORIES);
    await close();
    const { windows } = scoredWindows(config, await loadTokenizer(TINY_STORIES), await readFile(HELD_OUT, 'utf8'));
    const exact = await ourDistributions(TINY_STORIES, 'reference', windows);
    const formats: Comparison[] = [];
    const wire: WireScore[] = [];
    for (const [format, theirFormat] of PAIRS) {
      const packed = join(dir, format);
      await packModel({ modelDir: TINY_STORIES, outDir: packed, quant: format, denseQuant: format });
      const ours = scoreOf(await ourDistributions(packed, 'wasm', windows), exact, windows);
      const gguf = join(dir, `${theirFormat}.gguf`);
      await exportGguf({ modelDir: TINY_STORIES, out: gguf, type: theirFormat });
      const theirs = scoreOf(await llamaDistributions(gguf, config.maxPositionEmbeddings, windows), exact, windows);
      formats.push({ format, ours, theirFormat, theirs });
      for (const rowFormat of ROW_FORMATS) {
        const said = await ourDistributions(packed, 'wasm', windows, rowFormat);
        wire.push({ format, rowFormat, score: scoreOf(said, exact, windows) });
      }
    }
    return { formats, wire };
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

function scoreOf(said: Distributions, exact: Distributions, windows: readonly number[][]): Score {
  const next = windows.flatMap((window) => window.slice(1));
  let [nll, divergence] = [0, 0];
  for (const [i, q] of said.entries()) {
    nll -= Math.log(q[next[i]!]!);
    const p = exact[i]!;
    // Smaller values are lost in float32 and in the sum.
    for (let t = 0; t < p.length; t++)
      if (p[t]! > 1e-20) divergence += p[t]! * Math.log(p[t]! / Math.max(q[t]!, 1e-30));
  }
  return { perplexity: Math.exp(nll / said.length), divergence: divergence / said.length };
}

async function ourDistributions(
  modelDir: string,
  name: 'reference' | 'wasm',
  windows: readonly number[][],
  rowFormat?: RowFormat,
): Promise<Distributions> {
  const opened = await openModel(modelDir);
  const { config, reader, dense } = opened;
  const engine = await openDenseEngine({ config, engine: name, reader, packed: dense });
  const { experts: here, close } = await openExperts(opened, name);
  const experts = rowFormat === undefined ? here : overTheWire(here, rowFormat, config.hiddenSize);
  try {
    const all: Distributions = [];
    for (const window of windows) {
      const cache = engine.newSequence();
      const rows = window.slice(0, -1).map((tokenId, position) => ({ tokenId, position, cache, wantLogits: true }));
      const { logits } = await engine.forward(rows, experts);
      all.push(...logits.map((row) => softmax(row!)));
      cache.free();
    }
    return all;
  } finally {
    close();
    await Promise.all([opened.close(), engine.close()]);
  }
}

/** Rounds rows and sums as frames do, as if tabs computed them. */
function overTheWire(experts: ExpertDispatch, rowFormat: RowFormat, hiddenSize: number): ExpertDispatch {
  const travel = (rows: Float32Array): Float32Array => roundedRows(rowFormat, rows, hiddenSize);
  return {
    dispatch: (call) => {
      const { combine } = experts.dispatch({ ...call, x: travel(call.x.subarray(0, call.numRows * hiddenSize)) });
      return { combine: async () => travel(await combine()) };
    },
  };
}

function softmax(logits: Float32Array): Float32Array {
  const top = logits.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const weights = logits.map((logit) => Math.exp(logit - top));
  const sum = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => weight / sum);
}

async function llamaDistributions(
  path: string,
  contextSize: number,
  windows: readonly number[][],
): Promise<Distributions> {
  const llama = await openLlamaCpp(path, { contextSize, threads: availableParallelism() });
  try {
    const all: Distributions = [];
    for (const window of windows) all.push(...(await llama.probabilities(window.slice(0, -1))));
    return all;
  } finally {
    await llama.close();
  }
}
