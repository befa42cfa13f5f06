import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { collector } from '../collect.ts';
import { readTensors } from '../golden/families.ts';
import { adapterRoot, MODEL, soak, startWithAdapters } from '../integration/adapter-soak.ts';
import { measureMixtures } from './mixtures.ts';
import { formatHeldRows, type HeldRow, median } from './table.ts';

const STREAMS = 16;
const LOADS = 200;
/** Soon full of prefixes. */
const KV_BYTES = 2 ** 20;
/** Memory after so many loads, when code is compiled and caches are full, is compared with that of as many at the end. */
const WARM_UP_LOADS = 40;
/** A pass's own garbage; each adapter takes 20 KiB as it is read. */
const MOST_GROWN_BYTES = 2 * 2 ** 20;

/**
 * Loads and unloads adapters 200 times under 16 running streams: does an answer fail or change, and does memory grow? And measures
 * what a token costs under an adapter and under a mixture of some.
 */
export async function benchAdapters({ json }: { json: boolean }): Promise<void> {
  const cacheDir = await mkdtemp(join(tmpdir(), 'shoal-adapters-'));
  const adapters = new Map(['attention', 'all'].map((name) => [name, join(adapterRoot, name)]));
  const coordinator = await startWithAdapters(cacheDir, { adapters, kvMemoryBytes: KV_BYTES });
  try {
    const before = coordinator.adapters.bytes;
    const prompt = Array.from(readTensors(join(adapterRoot, 'reference.safetensors'))('ids'));
    const kept: number[] = [];
    const collect = collector();
    const onLoad = (): void => {
      collect();
      const { heapUsed, external } = process.memoryUsage();
      kept.push(heapUsed + external);
    };
    const models = [MODEL, ...adapters.keys()];
    const counts = await soak({ url: coordinator.url, models, streams: STREAMS, loads: LOADS, prompt, onLoad });
    const early = median(kept.slice(WARM_UP_LOADS, 2 * WARM_UP_LOADS));
    const grown = median(kept.slice(-WARM_UP_LOADS)) - early;
    const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
    const left = coordinator.adapters.bytes - before;
    const rows: HeldRow[] = [
      { figure: `answers under ${LOADS} loads, ${STREAMS} streams`, measured: String(counts.answers), reference: '' },
      { figure: 'that failed', measured: String(counts.failed), reference: '0', met: counts.failed === 0 },
      { figure: 'that changed', measured: String(counts.changed), reference: '0', met: counts.changed === 0 },
      { figure: 'adapters’ memory left taken', measured: mib(left), reference: '0', met: left === 0 },
      {
        figure: `memory that is kept, grown over ${LOADS - 2 * WARM_UP_LOADS} loads`,
        measured: mib(grown),
        reference: `≤ ${mib(MOST_GROWN_BYTES)}`,
        met: grown <= MOST_GROWN_BYTES,
      },
      ...(await measureMixtures()),
    ];
    process.stdout.write(`${json ? JSON.stringify(rows, undefined, 2) : formatHeldRows(rows)}\n`);
  } finally {
    await coordinator.close();
    await rm(cacheDir, { recursive: true });
  }
}
