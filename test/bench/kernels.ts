import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build, preview } from 'vite';
import { launchChromium } from '../../tools/browser/chromium.ts';
import type { KernelBenchCase, KernelBenchResult } from './kernels-page/main.ts';
import { formatTable, median } from './table.ts';

/** The shapes of a V2-Lite expert and of a default-model expert. */
const WIDTHS = [
  { name: 'V2-Lite', hiddenSize: 2048, moeIntermediateSize: 1408 },
  { name: 'tiny-stories', hiddenSize: 192, moeIntermediateSize: 64 },
] as const;
/** Both sides multiply the same codes in f32; only the order of their sums differs. */
const MAX_DISTANCE = 1e-4;
const MIN_RUNS = 9;

/**
 * Compares our expert FFN with onnxruntime-web's MatMulNBits on the same adapter and page: time from rows in memory to
 * results in memory. Throws if the results differ, because the times would then compare different work.
 */
export async function benchKernels({ repeats, json }: { repeats: number; json: boolean }): Promise<void> {
  const cases = WIDTHS.flatMap((width) =>
    (['q4', 'q8'] as const).flatMap((quant) =>
      [1, 32].map((numRows) => ({ ...width, quant, numRows, repeats: Math.max(MIN_RUNS, repeats) })),
    ),
  );
  const results = await inPage(cases);
  if (json) {
    process.stdout.write(`${JSON.stringify(results, null, 2)}\n`);
    return;
  }
  process.stdout.write(
    "Expert FFN beside onnxruntime-web's WebGPU MatMulNBits; medians in ms, ratio = theirs / ours\n",
  );
  process.stdout.write(`${formatTable(besideOrt(results))}\n\n`);
  process.stdout.write('Every variant of ours, ms\n');
  process.stdout.write(`${formatTable(variantTable(results))}\n`);
}

const titleOf = ({ name, quant, numRows }: NamedCase): string =>
  `${name} ${quant}, ${numRows === 1 ? '1 row' : `${numRows} rows`}`;

function besideOrt(results: readonly NamedResult[]): string[][] {
  const head = ['', 'ours', 'ort f32', 'ratio', 'ort int8', 'ratio', 'distance', 'int8 distance', 'chosen'];
  const rows = results.map((result) => {
    const [ours, f32, int8] = [median(result.oursMs), median(result.ortMs), median(result.ortInt8Ms)];
    return [
      titleOf(result),
      ours.toFixed(2),
      f32.toFixed(2),
      (f32 / ours).toFixed(2),
      int8.toFixed(2),
      (int8 / ours).toFixed(2),
      result.distance.toExponential(1),
      result.int8Distance.toExponential(1),
      result.variant,
    ];
  });
  return [head, ...rows];
}

function variantTable(results: readonly NamedResult[]): string[][] {
  const names = Object.keys(results[0]!.variantMs);
  const rows = results.map((result) => [
    titleOf(result),
    ...names.map((name) => median(result.variantMs[name]!).toFixed(2)),
  ]);
  return [['', ...names], ...rows];
}

type NamedCase = KernelBenchCase & { name: string };
type NamedResult = NamedCase & KernelBenchResult;

async function inPage(cases: readonly NamedCase[]): Promise<NamedResult[]> {
  const root = join(import.meta.dirname, 'kernels-page');
  const outDir = await mkdtemp(join(tmpdir(), 'shoal-kernels-bench-'));
  const shared = { configFile: false, root, logLevel: 'warn' } as const;
  // The runtime's wasm is one large asset, so a warning about its size is no use.
  await build({ ...shared, build: { outDir, emptyOutDir: true, target: 'es2023', chunkSizeWarningLimit: 1e6 } });
  const server = await preview({ ...shared, build: { outDir }, preview: { host: '127.0.0.1', port: 0 } });
  const browser = await launchChromium();
  try {
    const page = await browser.newPage();
    await page.goto(server.resolvedUrls!.local[0]!);
    await page.waitForFunction('typeof benchKernel === "function"');
    const results: NamedResult[] = [];
    for (const each of cases) {
      process.stderr.write(`${each.name} ${each.quant}, ${each.numRows} rows …\n`);
      const result = (await page.evaluate(`benchKernel(${JSON.stringify(each)})`)) as KernelBenchResult;
      if (!(result.distance <= MAX_DISTANCE)) {
        throw new Error(`${each.name} ${each.quant}: results lie ${result.distance} apart, more than ${MAX_DISTANCE}`);
      }
      results.push({ ...each, ...result });
    }
    return results;
  } finally {
    await browser.close();
    await server.close();
    await rm(outDir, { recursive: true, force: true });
  }
}
