import { openWasmEngine } from '@shoal/kernels/node';
import { createRng, type ExpertDispatch, type ForwardEngine, type TensorReader } from '@shoal/model';
import { configOf, draftModels } from '../../packages/model/src/testing/published-models/index.ts';
import { machineFacts, machineInWords } from './machine.ts';
import { formatTable } from './table.ts';

/** Text before the rows that are measured. */
const CONTEXT = 256;
const ROWS = [1, 2, 4, 8, 16, 64];
const KV_BYTES = 256 * 2 ** 20;
/** Laps of a pass of Qwen3-30B-A3B, which has the same tokenizer. */
const LAPS = 48;
const RATES = [0.5, 0.7, 0.9];
const MOST_DEPTH = 8;

export interface DraftModelBenchOptions {
  repeats: number;
  json: boolean;
  /** q8, as serve packs draft models, or q4. */
  quant: string | undefined;
}

interface Call {
  rows: number;
  /** The fastest and the middle one. */
  bestMs: number;
  medianMs: number;
}

const noExperts: ExpertDispatch = {
  dispatch: () => {
    throw new TypeError('a draft model has no experts');
  },
};

/** What calls of a draft model cost with Qwen3-0.6B's dimensions (random weights), and from which round trip on it pays. */
export async function benchDraftModel({ repeats, json, quant }: DraftModelBenchOptions): Promise<void> {
  const model = draftModels[0]!;
  const config = configOf(model);
  process.stderr.write(`packing random weights of ${model.name}'s dimensions into memory\n`);
  const format = quant === 'q4' ? 'q4' : 'q8';
  const weights = { reader: randomReader(), format } as const;
  const engine = await openWasmEngine({ config, weights, kvBytes: KV_BYTES });
  try {
    const machine = await machineFacts();
    const calls: Call[] = [];
    for (const rows of ROWS) calls.push(await measure(engine, rows, repeats));
    if (json) {
      process.stdout.write(
        `${JSON.stringify({ machine, model: model.name, weightBytes: engine.memory.weightBytes, calls }, null, 2)}\n`,
      );
      return;
    }
    process.stdout.write(
      `${machineInWords(machine)} ${model.name}'s dimensions, ${format}, after ${CONTEXT} tokens.\n\n`,
    );
    const table = calls.map(({ rows, bestMs, medianMs }) => [
      String(rows),
      bestMs.toFixed(1),
      medianMs.toFixed(1),
      (bestMs / rows).toFixed(1),
      (engine.memory.weightBytes / bestMs / 1e6).toFixed(1),
    ]);
    process.stdout.write(`${formatTable([['rows', 'ms, fastest', 'ms, median', 'ms a row', 'GB/s'], ...table])}\n\n`);
    process.stdout.write(`${breakEven(calls[0]!.bestMs)}\n`);
  } finally {
    await engine.close();
  }
}

/** Calls of so many rows, each of which asks for a token as drafts do. */
async function measure(engine: ForwardEngine, rows: number, repeats: number): Promise<Call> {
  const cache = engine.newSequence();
  const rowAt = (position: number) => ({ tokenId: (position * 7919) % engine.config.vocabSize, position, cache });
  await engine.forward(
    Array.from({ length: CONTEXT }, (_, position) => rowAt(position)),
    noExperts,
  );
  const query = { token: { temperature: 0, topP: 1, uniform: 0 }, topLogprobs: 4 };
  const times: number[] = [];
  // The first is a warm-up.
  for (let run = 0; run <= repeats; run++) {
    const batch = Array.from({ length: rows }, (_, i) => ({
      ...rowAt(CONTEXT + i),
      query: rows > 16 ? undefined : query,
    }));
    const startedMs = performance.now();
    await engine.forward(batch, noExperts);
    if (run > 0) times.push(performance.now() - startedMs);
    cache.truncate(CONTEXT);
  }
  cache.free();
  times.sort((a, b) => a - b);
  return { rows, bestMs: times[0]!, medianMs: times[Math.floor(times.length / 2)]! };
}

/**
 * A pass of L laps with d drafts gives E = 1 + a + … + a^d tokens and takes d calls longer: drafting pays where d · t < (E − 1) · L ·
 * round trip, least of all for one draft. The coordinator's own time of a pass, which drafts save too, is left out.
 */
function breakEven(callMs: number): string {
  const lines = RATES.map((rate) => {
    const tokens = (depth: number): number => (1 - rate ** (depth + 1)) / (1 - rate);
    const least = callMs / (rate * LAPS);
    const gains = [5, 20, 50].map((rttMs) => {
      const perToken = (depth: number): number => (LAPS * rttMs + depth * callMs) / tokens(depth);
      const best = Math.min(...Array.from({ length: MOST_DEPTH + 1 }, (_, depth) => perToken(depth)));
      return ((LAPS * rttMs) / best).toFixed(2);
    });
    return [`${100 * rate} %`, least.toFixed(1), ...gains];
  });
  const head = ['drafts right', 'pays from, ms', '× at 5 ms', '× at 20 ms', '× at 50 ms'];
  return `A chain of up to ${MOST_DEPTH} drafts for a model of ${LAPS} laps a pass, whatever else a pass costs left out:\n\n${formatTable([head, ...lines])}`;
}

/** Normal-like values; a part of the same million everywhere, since their making would take longer than packing. */
export function randomReader(): TensorReader {
  const rng = createRng(1);
  const pool = Float32Array.from({ length: 1 << 20 }, () => rng() + rng() + rng() - 1.5);
  const valuesOf = (count: number, columns: number, isNorm: boolean): Float32Array => {
    const values = new Float32Array(count);
    const scale = isNorm ? 0 : 2 / Math.sqrt(columns);
    for (let i = 0; i < count; i++) values[i] = (isNorm ? 1 : 0) + scale * pool[(i * 31) & (pool.length - 1)]!;
    return values;
  };
  return {
    read: async ({ name, shape }) =>
      valuesOf(
        shape.reduce((a, b) => a * b, 1),
        shape[1] ?? 1,
        name.includes('norm'),
      ),
    readRows: async ({ name, shape }, _, count) => {
      const columns = shape[1] ?? 1;
      return valuesOf(count * columns, columns, name.includes('norm'));
    },
  };
}
