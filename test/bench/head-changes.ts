// What masks, penalties and min_p add to a token's time, beside a head of Qwen3-30B-A3B's size.
import { openWasmEngine } from '@shoal/kernels/node';
import {
  createRng,
  type EngineRow,
  type ExpertDispatch,
  type ForwardEngine,
  parseModelConfig,
  type Rng,
  type SamplingParams,
  type TensorReader,
} from '@shoal/model';
import { smallConfigJson } from '@shoal/model/testing';
import { formatTable, median } from './table.ts';

/** Of Qwen3-30B-A3B. The head alone is a part of a token's time, so a share of it is more than a share of a token's time. */
const VOCAB = 151_936;
const HIDDEN = 2048;
const SEED = 12;
/** Different tokens of a long chat. */
const SEEN = 4096;
const LEAST_RUNS = 12;
/** A pass of many rows takes long. */
const FOR_MANY_ROWS = /^a mask of half|^all/;

interface Draw {
  token: Omit<SamplingParams, 'uniform'>;
  mask?: Uint32Array;
}

export interface ChangeFigure {
  draw: string;
  rows: number;
  /** The fastest pass, without and with it. */
  plainMs: number;
  passMs: number;
  /** Processor time beside that of the same pass without it; the median of pairs. */
  cpuPercent: number;
}

export interface HeadChanges {
  hiddenSize: number;
  figures: ChangeFigure[];
}

export async function measureHeadChanges(
  threads: number,
  repeats: number,
  experts: ExpertDispatch,
  say: (line: string) => void,
): Promise<HeadChanges> {
  const engine = await openLargeHead(threads);
  const figures: ChangeFigure[] = [];
  try {
    for (const rows of [1, 16]) {
      for (const [draw, changed] of Object.entries(draws())) {
        if (rows > 1 && !FOR_MANY_ROWS.test(draw)) continue;
        const plain = { token: { ...changed.token, minP: 0, changes: undefined } };
        const runs = Math.max(LEAST_RUNS, repeats * (rows === 1 ? 6 : 2));
        const figure = { draw, rows, ...(await compare(engine, experts, plain, changed, rows, runs)) };
        figures.push(figure);
        say(`${draw}, ${rows} rows: ${figure.plainMs.toFixed(1)} and ${figure.passMs.toFixed(1)} ms a pass`);
      }
    }
  } finally {
    await engine.close();
  }
  return { hiddenSize: HIDDEN, figures };
}

export function printHeadChanges({ hiddenSize, figures }: HeadChanges, threads: number): void {
  process.stdout.write(`\nThe head of ${VOCAB} × ${hiddenSize} in q8, ${threads} threads; fastest passes\n\n`);
  const head = ['ms a pass', 'rows', 'without', 'with', '% added', '% processor time added'];
  const rows = figures.map(({ draw, rows: count, plainMs, passMs, cpuPercent }) => {
    const added = ((passMs / plainMs - 1) * 100).toFixed(1);
    return [draw, `${count}`, plainMs.toFixed(1), passMs.toFixed(1), added, cpuPercent.toFixed(1)];
  });
  process.stdout.write(`${formatTable([head, ...rows])}\n`);
}

function draws(): Record<string, Draw> {
  const rng = createRng(SEED);
  const half = Uint32Array.from({ length: VOCAB / 32 }, () => rng() * 2 ** 32);
  const few = new Uint32Array(VOCAB / 32);
  for (let i = 0; i < 100; i++) few[Math.floor(rng() * few.length)]! |= 1 << Math.floor(rng() * 32);
  const ids = new Set(Array.from({ length: SEEN }, () => Math.floor(rng() * VOCAB)));
  const seen = Int32Array.from([...ids].flatMap((id, i) => [id, i % 4]));
  const penalties = { repetition: 1.1, frequency: 0.3, presence: 0.2, seen };
  const biases = new Map(Array.from({ length: 1024 }, () => [Math.floor(rng() * VOCAB), rng() * 10 - 5]));
  const [greedy, drawn] = [
    { temperature: 0, topP: 1 },
    { temperature: 1, topP: 0.95 },
  ];
  return {
    'a mask of half, greedy': { token: greedy, mask: half },
    'a mask of half, top_p': { token: drawn, mask: half },
    'a mask of 100 tokens, greedy': { token: greedy, mask: few },
    'a mask of 100 tokens, top_p': { token: drawn, mask: few },
    [`penalties of ${SEEN} tokens, greedy`]: { token: { ...greedy, changes: { penalties } } },
    [`penalties of ${SEEN} tokens, top_p`]: { token: { ...drawn, changes: { penalties } } },
    'biases of 1024 tokens, top_p': { token: { ...drawn, changes: { biases } } },
    'min_p 0.05, top_p': { token: { ...drawn, minP: 0.05 } },
    'all of these, top_p': { token: { ...drawn, minP: 0.05, changes: { penalties, biases } }, mask: half },
  };
}

/** Runs the two in turns, so that whatever else the machine does slows both. */
async function compare(
  engine: ForwardEngine,
  experts: ExpertDispatch,
  plain: Draw,
  changed: Draw,
  numRows: number,
  runs: number,
): Promise<Pick<ChangeFigure, 'plainMs' | 'passMs' | 'cpuPercent'>> {
  const rng = createRng(SEED);
  const pairs: { plain: PassTime; changed: PassTime }[] = [];
  // The first run is only a warm-up.
  for (let run = 0; run <= runs; run++) {
    const isPlainFirst = run % 2 === 0;
    const first = await timePass(engine, experts, isPlainFirst ? plain : changed, numRows, rng);
    const second = await timePass(engine, experts, isPlainFirst ? changed : plain, numRows, rng);
    if (run > 0) pairs.push(isPlainFirst ? { plain: first, changed: second } : { plain: second, changed: first });
  }
  return {
    plainMs: Math.min(...pairs.map((pair) => pair.plain.ms)),
    passMs: Math.min(...pairs.map((pair) => pair.changed.ms)),
    cpuPercent: (median(pairs.map((pair) => pair.changed.cpuMs / pair.plain.cpuMs)) - 1) * 100,
  };
}

interface PassTime {
  ms: number;
  /** Of all threads; other processes hardly change it. */
  cpuMs: number;
}

async function timePass(
  engine: ForwardEngine,
  experts: ExpertDispatch,
  { token, mask }: Draw,
  numRows: number,
  rng: Rng,
): Promise<PassTime> {
  const caches = Array.from({ length: numRows }, () => engine.newSequence());
  const rows: EngineRow[] = caches.map((cache, r) => {
    const query = { token: { ...token, uniform: rng() } };
    return { tokenId: 1 + r, position: 0, cache, query, mask: mask && Promise.resolve(mask) };
  });
  const before = process.cpuUsage();
  const startedMs = performance.now();
  await engine.forward(rows, experts);
  const ms = performance.now() - startedMs;
  const { user, system } = process.cpuUsage(before);
  for (const cache of caches) cache.free();
  return { ms, cpuMs: (user + system) / 1000 };
}

/** A model that is little more than a head. */
async function openLargeHead(threads: number): Promise<ForwardEngine> {
  const config = parseModelConfig({
    ...smallConfigJson,
    vocab_size: VOCAB,
    hidden_size: HIDDEN,
    max_position_embeddings: 8192,
  });
  const rng = createRng(SEED);
  // A few random numbers, again and again from other places: hundreds of millions of them would take a minute.
  const table = Float32Array.from({ length: 2 ** 16 }, () => (rng() + rng() + rng() - 1.5) * 0.1);
  const reader: TensorReader = {
    read: async ({ name, shape }) => {
      const values = new Float32Array(shape.reduce((a, b) => a * b, 1));
      if (name.includes('norm')) return values.fill(1);
      for (let at = 0; at < values.length; at += HIDDEN) {
        const from = Math.floor(rng() * (table.length - HIDDEN));
        values.set(table.subarray(from, from + Math.min(HIDDEN, values.length - at)), at);
      }
      return values;
    },
  };
  return openWasmEngine({ config, weights: { reader, format: 'q8' }, threads });
}
