import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg } from 'node:os';
import { runnableVariants } from '@shoal/kernels/node';
import { readLoopGBps } from './read-loop.ts';

/** What explains a figure of the dense engine on this machine. */
export interface MachineFacts {
  node: string;
  processor: string;
  threads: number;
  /** Logical processors of one core, as the kernel sees them; a virtual machine may not be told. */
  threadsPerCore: number | null;
  /** Of WebAssembly. */
  relaxedSimd: boolean;
  load: number;
  /** A plain WebAssembly read loop on one thread, and on all. Two threads of one core, or a busy neighbour, add little. */
  readGBps: { one: number; all: number };
}

export async function machineFacts(): Promise<MachineFacts> {
  const load = loadavg()[0]!;
  const threads = availableParallelism();
  return {
    node: process.version,
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    threads,
    threadsPerCore: threadsPerCore(),
    relaxedSimd: runnableVariants().some(({ relaxed }) => relaxed),
    load,
    readGBps: { one: await readLoopGBps(1, 5), all: await readLoopGBps(threads, 5) },
  };
}

/** Linux names the siblings of a logical processor as "0,1" or "0-1". */
function threadsPerCore(): number | null {
  try {
    const siblings = readFileSync('/sys/devices/system/cpu/cpu0/topology/thread_siblings_list', 'utf8').trim();
    return siblings.split(',').reduce((sum, part) => {
      const [first, last = first] = part.split('-').map(Number);
      return sum + last! - first! + 1;
    }, 0);
  } catch {
    return null;
  }
}

export function machineInWords({
  node,
  processor,
  threads,
  threadsPerCore,
  relaxedSimd,
  load,
  readGBps,
}: MachineFacts) {
  const { one, all } = readGBps;
  return (
    `${processor}, ${threads} threads, ${threadsPerCore ?? 'unknown'} a core as the system says; Node ${node}, relaxed SIMD: ` +
    `${relaxedSimd ? 'yes' : 'no'}; load average ${load.toFixed(1)} at the start. A plain WebAssembly read loop reaches ` +
    `${one.toFixed(1)} GB/s on one thread and ${all.toFixed(1)} GB/s on ${threads} (× ${(all / one).toFixed(2)}).`
  );
}
