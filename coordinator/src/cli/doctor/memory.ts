import { totalmem } from 'node:os';
import { formatBytes } from '../progress.ts';
import { failed, type Finding, ok, warning } from './finding.ts';

export interface MemoryNeeds {
  weights: number;
  kvCache: number;
  experts: number;
  /** The rest of the process. */
  process: number;
}

export interface Memory {
  /** Of the machine, or of the control group where that allows less. */
  totalBytes: number;
  availableBytes: number;
}

/** A container's limit counts as its machine. */
export function systemMemory(): Memory {
  const limit = process.constrainedMemory();
  // 0, or more than there is: no limit.
  const totalBytes = limit > 0 ? Math.min(limit, totalmem()) : totalmem();
  return { totalBytes, availableBytes: Math.min(process.availableMemory(), totalBytes) };
}

/** Compares what the coordinator may grow to with what there is. */
export function checkMemory(needs: MemoryNeeds, { totalBytes, availableBytes }: Memory = systemMemory()): Finding {
  const needed = needs.weights + needs.kvCache + needs.experts + needs.process;
  const parts = `weights ${formatBytes(needs.weights)}, KV cache ${formatBytes(needs.kvCache)}, experts ${formatBytes(needs.experts)}, process ${formatBytes(needs.process)}`;
  const text = `${formatBytes(needed)} at most (${parts}) of ${formatBytes(availableBytes)} available and ${formatBytes(totalBytes)} in all`;
  const remedy =
    'Lower --kv-memory, --expert-memory or --local-experts, take a smaller --dense-quant, or give the machine or container more.';
  if (needed > totalBytes) return failed(text, remedy);
  return needed > availableBytes ? warning(text, remedy) : ok(text);
}
