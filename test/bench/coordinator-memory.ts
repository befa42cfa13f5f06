import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expertLayers } from '@shoal/model';
import type { Quant } from '@shoal/weights';
import { createCore, defaultConfig } from '../../coordinator/src/index.ts';
import { answer } from '../integration/answers.ts';

export interface CoordinatorMemory {
  /** Peak resident memory of the whole process. */
  peakBytes: number;
  /** Size of the packed dense weights, and the most KV cache in use at any time. */
  denseBytes: number;
  kvBytes: number;
  /** Packed experts that it may keep: all, or what `--expert-memory` allows. */
  localExpertBytes: number;
}

interface MemoryOptions {
  /** Folder of a packed model. */
  modelDir: string;
  quant: Quant;
  expertMemoryBytes: number;
}

/** One full pass of prompt rows, and a few passes of decoding. */
const PROMPT_TOKENS = 256;
const DECODE_TOKENS = 8;
const TIMEOUT_MS = 10 * 60_000;

/** 1.2 × (packed dense weights + local experts that the operator allows + KV cache in use) + 300 MB. */
export function allowedBytes({ denseBytes, localExpertBytes, kvBytes }: CoordinatorMemory): number {
  return 1.2 * (denseBytes + localExpertBytes + kvBytes) + 300e6;
}

/** Runs a coordinator in a separate process that answers one request with local experts only. */
export async function coordinatorMemory(options: MemoryOptions): Promise<CoordinatorMemory> {
  const args = ['--import', 'tsx', fileURLToPath(import.meta.url), JSON.stringify(options)];
  const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: TIMEOUT_MS });
  return JSON.parse(stdout) as CoordinatorMemory;
}

async function measure({ modelDir, quant, expertMemoryBytes }: MemoryOptions): Promise<CoordinatorMemory> {
  const core = await createCore(
    defaultConfig({ model: modelDir, quant, cacheDir: modelDir, replicas: 1, expertMemoryBytes }),
  );
  const length = Math.min(PROMPT_TOKENS, core.scheduler.maxContext - DECODE_TOKENS);
  const prompt = Array.from({ length }, (_, i) => 4 + ((i * 7919) % (core.config.vocabSize - 8)));
  let kvBytes = 0;
  await answer(core, prompt, {
    maxTokens: DECODE_TOKENS,
    onToken: () => void (kvBytes = Math.max(kvBytes, core.scheduler.kvBytesInUse)),
  });
  await core.close();
  // Node.js counts maxRSS in KiB.
  const peakBytes = process.resourceUsage().maxRSS * 1024;
  const { dense, shardBytes } = core.packed.manifest;
  const numShards = expertLayers(core.config).length * core.config.nRoutedExperts;
  const localExpertBytes = Math.min(expertMemoryBytes, numShards * shardBytes);
  return { peakBytes, denseBytes: dense.bytes, kvBytes, localExpertBytes };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const options = JSON.parse(process.argv[2]!) as MemoryOptions;
  process.stdout.write(JSON.stringify(await measure(options)));
}
