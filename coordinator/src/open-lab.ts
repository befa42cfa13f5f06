import type { ForwardEngine } from '@shoal/model';
import { ROW_BLOCK } from '@shoal/protocol';
import type { PackedModel } from '@shoal/weights/node';
import type { Config } from './config.ts';
import { Lab, type Tabs } from './lab/lab.ts';
import type { LocalCompute } from './local-experts/local-compute.ts';
import type { Scheduler } from './scheduler/scheduler.ts';
import type { Swarm } from './swarm/swarm.ts';

export interface LabParts {
  config: Config;
  packed: PackedModel;
  forward: ForwardEngine;
  /** Of audits, which wait for laps. */
  local: LocalCompute;
  scheduler: Scheduler;
  swarm: Swarm;
}

/** The lab beside the scheduler, whose KV cache and engine it shares. */
export function openLab({ config, packed, forward, local, scheduler, swarm }: LabParts): Lab {
  const { hiddenSize, nRoutedExperts } = forward.config;
  return new Lab({
    modelId: packed.manifest.modelId,
    forward,
    local,
    openSequence: (positions) => scheduler.openApart(positions),
    tabs: () => tabsOf(swarm, nRoutedExperts),
    rowBytes: config.rowFormat === 'int8' ? hiddenSize + Math.ceil(hiddenSize / ROW_BLOCK) : 2 * hiddenSize,
  });
}

/** The tabs that serve now, with the experts that they hold. */
function tabsOf(swarm: Swarm, numExperts: number): Tabs {
  const peers = [...swarm.serving()];
  const layers = new Map<number, number[][]>();
  const holdersOf = (layer: number): number[][] =>
    Array.from({ length: numExperts }, (_, expert) =>
      peers.flatMap((peer, i) => (peer.serves(layer, expert) ? [i] : [])),
    );
  return {
    count: peers.length,
    holders: (layer) => {
      const known = layers.get(layer) ?? holdersOf(layer);
      layers.set(layer, known);
      return (expert) => known[expert]!;
    },
  };
}
