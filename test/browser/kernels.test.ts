import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser } from 'playwright';
import { build, preview, type PreviewServer } from 'vite';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { variantFile, WASM_VARIANTS } from '@shoal/kernels/node';
import { hostCases, kernelCases, type ConformanceResult } from '../../packages/kernels/src/conformance.ts';
import { connectChromium } from './shared-chromium.ts';

/** As the coordinator sends them: shared memory, and so WebAssembly threads, need them. */
const ISOLATING_HEADERS = {
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
};

let outDir: string;
let server: PreviewServer;
let browser: Browser;

beforeAll(async () => {
  const root = join(import.meta.dirname, 'kernels-page');
  outDir = await mkdtemp(join(tmpdir(), 'shoal-kernels-page-'));
  const shared = { configFile: false, root, logLevel: 'warn' } as const;
  await build({ ...shared, build: { outDir, emptyOutDir: true, target: 'es2023' } });
  server = await preview({
    ...shared,
    build: { outDir },
    preview: { host: '127.0.0.1', port: 0, headers: ISOLATING_HEADERS },
  });
  browser = await connectChromium();
});

afterAll(async () => {
  await browser?.close();
  await server?.close();
  await rm(outDir, { recursive: true, force: true });
});

it('passes the conformance cases of every kernel, and of their host, on WebGPU in Chromium', async () => {
  const page = await browser.newPage();
  const address = server.resolvedUrls?.local[0];
  await page.goto(address!);
  await page.waitForFunction('typeof runKernelConformance === "function"');
  const results = (await page.evaluate('runKernelConformance()')) as ConformanceResult[];
  expect(results.filter((result) => !result.ok)).toEqual([]);
  expect(results.map((result) => result.name)).toEqual([...kernelCases(), ...hostCases()].map(({ name }) => name));
});

it.each(WASM_VARIANTS.map(variantFile))(
  'passes the conformance cases of every kernel on %s in Chromium',
  async (file) => {
    const page = await browser.newPage();
    await page.goto(server.resolvedUrls!.local[0]!);
    await page.waitForFunction('typeof runWasmConformance === "function"');
    // A current Chromium runs all of them, Node 20 only those without relaxed SIMD.
    expect(await page.evaluate('wasmVariants()')).toContain(file);
    const results = (await page.evaluate(`runWasmConformance(${JSON.stringify(file)})`)) as ConformanceResult[];
    expect(results.filter((result) => !result.ok)).toEqual([]);
    expect(results.map((result) => result.name)).toEqual(kernelCases().map(({ name }) => name));
    await page.close();
  },
);
