import { createReferenceBackend, type ExpertBackend } from '@shoal/kernels';
import { createWasmBackend, runnableVariants, variantFile } from '@shoal/kernels/node';
import { encodeF16, type WorkItem, uniformWorkItem } from '@shoal/model';
import { packExpert, QUANTS, shardBytes, type ExpertShape } from '@shoal/weights';
import { readLoopGBps } from './read-loop.ts';
import { formatTable, median } from './table.ts';

/** Dimensions of a V2-Lite expert. */
const HIDDEN = 2048;
const INTERMEDIATE = 1408;
/** Each one-row lap uses a different expert from the last, so that weights come from memory and not from a cache. */
const EXPERTS = 8;
const ROWS = [1, 32] as const;
/** The TypeScript reference takes 10 to 100 ms per expert and row. */
const REFERENCE_RUNS = 2;
const RUNS = 24;

interface Figure {
  name: string;
  /** GB/s of packed weights, by rows per expert: shard bytes × runs / time. */
  byRows: Record<(typeof ROWS)[number], number>;
}

/** Measures how fast the WebAssembly backend reads V2-Lite experts, beside a plain read loop and the reference. */
export async function benchWasm({ repeats, json }: { repeats: number; json: boolean }): Promise<void> {
  const variants = runnableVariants();
  const reads = await readLoopGBps(1, repeats);
  const figures: Record<string, Figure[]> = {};
  for (const quant of QUANTS) {
    const shape: ExpertShape = { hiddenSize: HIDDEN, moeIntermediateSize: INTERMEDIATE, quant };
    figures[quant] = [await figureOf('reference', createReferenceBackend(shape), REFERENCE_RUNS, repeats)];
    for (const variant of variants) {
      const threads = variant.threads ? [1, 2] : [1];
      for (const count of threads) {
        const name = `${variantFile(variant)}, ${count} ${count === 1 ? 'thread' : 'threads'}`;
        const backend = await createWasmBackend({ shape, variant, threads: count });
        figures[quant].push(await figureOf(name, backend, RUNS, repeats));
      }
    }
  }
  if (json) {
    process.stdout.write(`${JSON.stringify({ readGBps: reads, figures }, null, 2)}\n`);
    return;
  }
  const rows = Object.entries(figures).flatMap(([quant, of]) =>
    of.map(({ name, byRows }) => [`${quant}, ${name}`, ...ROWS.map((count) => byRows[count].toFixed(2))]),
  );
  process.stdout.write(`Plain read loop, one thread: ${reads.toFixed(1)} GB/s\n\n`);
  process.stdout.write('GB/s of packed weights of an expert, 2048 × 1408\n');
  process.stdout.write(`${formatTable([['', ...ROWS.map((count) => `${count} rows`)], ...rows])}\n`);
}

async function figureOf(name: string, backend: ExpertBackend, runs: number, repeats: number): Promise<Figure> {
  const { shape } = backend;
  const shard = packExpert(shape, normalExpert());
  for (let expert = 0; expert < EXPERTS; expert++) await backend.load(0, expert, shard);
  const byRows: Record<number, number> = {};
  for (const numRows of ROWS) {
    const laps = Array.from({ length: EXPERTS }, (_, expert) => lapOf(numRows, expert));
    const count = numRows === 1 ? runs : Math.max(1, Math.round(runs / 8));
    const samples: number[] = [];
    for (let repeat = 0; repeat <= repeats; repeat++) {
      const startedMs = performance.now();
      for (let run = 0; run < count; run++) await backend.run(laps[run % EXPERTS]!);
      samples.push((shardBytes(shape) * count) / ((performance.now() - startedMs) * 1e6));
    }
    // The first run is for the compiler.
    byRows[numRows] = median(samples.slice(1));
  }
  backend.destroy();
  return { name, byRows: byRows as Figure['byRows'] };
}

function lapOf(numRows: number, expert: number): WorkItem {
  return uniformWorkItem({
    layer: 0,
    numRows,
    rows: encodeF16(Float32Array.from({ length: numRows * HIDDEN }, (_, i) => Math.sin(i * 12.9898))),
    experts: new Uint16Array(numRows).fill(expert),
    weights: new Float32Array(numRows).fill(0.5),
  });
}

function normalExpert() {
  const matrix = (salt: number): Float32Array =>
    Float32Array.from(
      { length: HIDDEN * INTERMEDIATE },
      (_, i) => 0.03 * Math.sin(i * 1.618 + salt) * Math.cos(i * 7.1),
    );
  return { gate: matrix(1), up: matrix(2), down: matrix(3) };
}
