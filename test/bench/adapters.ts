import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { collector } from '../collect.ts';
import { fixtureDir, readTensors } from '../golden/families.ts';
import { adapterRoot, MODEL, soak, startWithAdapters } from '../integration/adapter-soak.ts';
import { covered, until, VirtualDonor } from '../integration/virtual-donor.ts';
import { adaptedLaps } from './adapted-laps.ts';
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

/** Adapters under load, without tabs and, of routed experts, with them; and what an adapter in tabs, and a mixture of some, cost. */
export async function benchAdapters({ json }: { json: boolean }): Promise<void> {
  const rows = [
    ...(await soakRows()),
    ...(await soakRows(EXPERTS)),
    ...(await adaptedLaps()),
    ...(await measureMixtures()),
  ];
  process.stdout.write(`${json ? JSON.stringify(rows, undefined, 2) : formatHeldRows(rows)}\n`);
}

/** The model whose adapters change routed experts, and two tabs for it. */
const EXPERTS = { name: 'qwen3-moe', kept: ['down', 'attention'], churned: ['experts'], tabs: 2 };

/** Loads and unloads adapters 200 times under 16 running streams: does an answer fail or change, and does memory grow? */
async function soakRows(of?: typeof EXPERTS): Promise<HeldRow[]> {
  const cacheDir = await mkdtemp(join(tmpdir(), 'shoal-adapters-'));
  const root = of ? join(adapterRoot, '..', of.name) : adapterRoot;
  const adapters = new Map((of?.kept ?? ['attention', 'all']).map((name) => [name, join(root, name)]));
  const given = of && { model: fixtureDir(of.name), adapterRoot: root, replicas: 2 };
  const coordinator = await startWithAdapters(cacheDir, { ...given, adapters, kvMemoryBytes: KV_BYTES });
  const donors: VirtualDonor[] = [];
  try {
    for (let i = 0; i < (of?.tabs ?? 0); i++) donors.push(await VirtualDonor.join(coordinator));
    if (of) await until('all experts to be served', () => covered(coordinator));
    const before = coordinator.adapters.bytes;
    const prompt = Array.from(readTensors(join(root, 'reference.safetensors'))('ids'));
    const kept: number[] = [];
    const collect = collector();
    const onLoad = (): void => {
      collect();
      const { heapUsed, external } = process.memoryUsage();
      kept.push(heapUsed + external);
    };
    const models = [of?.name ?? MODEL, ...adapters.keys()];
    const load = { streams: STREAMS, loads: LOADS, prompt, onLoad, ...(of && { churned: of.churned, idsAlone: true }) };
    const counts = await soak({ url: coordinator.url, models, ...load });
    const early = median(kept.slice(WARM_UP_LOADS, 2 * WARM_UP_LOADS));
    const grown = median(kept.slice(-WARM_UP_LOADS)) - early;
    const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
    const left = coordinator.adapters.bytes - before;
    const held = () => donors.reduce((sum, donor) => sum + donor.stats().adapterBytes, 0);
    const { tabAdapted, fallbackAdapted } = coordinator.dispatcher.figures;
    const share = `${((100 * tabAdapted) / (tabAdapted + fallbackAdapted)).toFixed(0)} %`;
    const ofTabs: HeldRow[] = [
      { figure: 'adapted work that tabs did', measured: share, reference: '' },
      { figure: 'low-rank shards left in tabs', measured: mib(held()), reference: '' },
    ];
    return [
      {
        figure: `answers under ${LOADS} loads, ${STREAMS} streams${of ? ', experts’ adapters, 2 tabs' : ''}`,
        measured: String(counts.answers),
        reference: '',
      },
      { figure: 'that failed', measured: String(counts.failed), reference: '0', met: counts.failed === 0 },
      { figure: 'that changed', measured: String(counts.changed), reference: '0', met: counts.changed === 0 },
      { figure: 'adapters’ memory left taken', measured: mib(left), reference: '0', met: left === 0 },
      {
        figure: `memory that is kept, grown over ${LOADS - 2 * WARM_UP_LOADS} loads`,
        measured: mib(grown),
        reference: `≤ ${mib(MOST_GROWN_BYTES)}`,
        met: grown <= MOST_GROWN_BYTES,
      },
      ...(of ? ofTabs : []),
    ];
  } finally {
    await coordinator.close();
    await Promise.all(donors.map((donor) => donor.close()));
    await rm(cacheDir, { recursive: true });
  }
}
