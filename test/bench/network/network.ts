import { cpus, loadavg } from 'node:os';
import { moeLayers } from '@shoal/model';
import { EngineWatch } from '../engine-watch.ts';
import { Clients } from '../load/clients.ts';
import { Rig } from '../rig.ts';
import { formatHeldRows, type HeldRow } from '../table.ts';
import { firstTokenRows } from './first-tokens.ts';
import { loopRows, soakRows } from './crowd.ts';
import { manyStreamsRows } from './many-streams.ts';
import type { NetworkOptions, NetworkPart } from './options.ts';
import { oneStreamRows } from './one-stream.ts';
import { overlapRows } from './overlap.ts';
import { coldStartRows, draftedStreamsRows, drafterRows, speculationRows } from './speculation.ts';
import { treeRows } from './trees.ts';

const TABS = 2;

/** Measures issue 5's network figures, each with its target beside it; ratios are within one run. */
export async function benchNetwork(options: NetworkOptions): Promise<void> {
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  const load = loadavg()[0]!;
  const rows: HeldRow[] = [];
  const rig = await Rig.start({ tabs: TABS, coordinator: { speculate: 'off' } });
  const clients = await Clients.open();
  const watch = new EngineWatch(rig.coordinator.forward);
  const { repeats, soakMinutes } = options;
  const laps = moeLayers(rig.coordinator.config).length;
  const parts: Record<NetworkPart, () => Promise<HeldRow[]>> = {
    'one-stream': () => oneStreamRows(rig, watch, repeats, laps),
    'first-tokens': () => firstTokenRows(repeats),
    speculation: () => speculationRows(repeats),
    'cold-start': () => coldStartRows(repeats),
    'drafted-streams': () => draftedStreamsRows(repeats),
    drafters: () => drafterRows(repeats),
    trees: () => treeRows(),
    overlap: () => overlapRows(repeats),
    'many-streams': () => manyStreamsRows(rig, watch, repeats),
    loop: () => loopRows({ rig, watch, clients }),
    soak: () => soakRows({ tabs: TABS, clients }, soakMinutes),
  };
  try {
    for (const part of options.parts) {
      say(`measuring ${part}`);
      rows.push(...(await parts[part]()));
    }
  } finally {
    await clients.close();
    await rig.close();
  }
  if (options.json) process.stdout.write(`${JSON.stringify({ cores: cpus().length, load, rows }, null, 2)}\n`);
  else process.stdout.write(`${formatHeldRows(rows)}\n\n${notes(laps, repeats, load)}`);
}

function notes(laps: number, repeats: number, load: number): string {
  return (
    `Default model, ${laps} laps per token, ${TABS} tabs that hold all experts: processes of their own over WebRTC, with the ` +
    `kernels of donors without a GPU. No speculation but in its own rows. Medians of ${repeats}. A round trip is what was added to the loopback's, as it was kept ` +
    `(both ways' medians); floors use it. ${cpus().length} cores for coordinator, tabs and clients together; load average ` +
    `at the start ${load.toFixed(1)}.\n`
  );
}
