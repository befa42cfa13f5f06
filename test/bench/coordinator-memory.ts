import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expertLayers } from '@shoal/model';
import type { Quant } from '@shoal/weights';
import { createCore, defaultConfig } from '../../coordinator/src/index.ts';
import { answer } from '../integration/answers.ts';

export interface CoordinatorMemory {
  /** Resident at its peak, of the whole process. */
  peakBytes: number;
  /** Its packed weights, and the KV cache in use when most was. */
  denseBytes: number;
  kvBytes: number;
  /** Packed experts that it may keep: all, or as many as `--expert-memory` takes. */
  localExpertBytes: number;
}

interface MemoryOptions {
  /** A packed model. */
  modelDir: string;
  quant: Quant;
  expertMemoryBytes: number;
}

/** A pass of prompt rows, the most that a pass has, and some of decoding. */
const PROMPT_TOKENS = 256;
const DECODE_TOKENS = 8;
const TIMEOUT_MS = 10 * 60_000;

/** 1.2 × (packed weights that it holds, the experts that the operator lets it keep among them, + KV in use) + 300 MB. */
export function allowedBytes({ denseBytes, localExpertBytes, kvBytes }: CoordinatorMemory): number {
  return 1.2 * (denseBytes + localExpertBytes + kvBytes) + 300e6;
}

/** A coordinator in a process of its own answers one request, all experts its own. */
export async function coordinatorMemory(options: MemoryOptions): Promise<CoordinatorMemory> {
  const args = ['--import', 'tsx', fileURLToPath(import.meta.url), JSON.stringify(options)];
  const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: TIMEOUT_MS });
  return JSON.parse(stdout) as CoordinatorMemory;
}

async function measure({ modelDir, quant, expertMemoryBytes }: MemoryOptions): Promise<CoordinatorMemory> {
  const core = await createCore(defaultConfig({ modelDir, quant, cacheDir: modelDir, replicas: 1, expertMemoryBytes }));
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
