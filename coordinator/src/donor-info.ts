import { pledgeFor } from '@shoal/placement';
import type { DonorInfo } from '@shoal/protocol';
import type { Access } from './access/access.ts';
import type { Config } from './config.ts';
import type { Core } from './core.ts';
import type { SwarmFacts } from './contribution/swarm-board.ts';
import type { SnapshotBuilder } from './console/snapshot.ts';

/** Of int8 rows: a byte for each value, and a scale's byte for each 32. */
const INT8_BYTES_PER_VALUE = 1 + 1 / 32;

export interface DonorInfoSources {
  core: Pick<Core, 'config' | 'packed' | 'scheduler' | 'swarm' | 'settings'>;
  config: Pick<Config, 'rowFormat' | 'cpuDonors'>;
  access: Pick<Access, 'policy'>;
  snapshots: Pick<SnapshotBuilder, 'tokensPerSecond'>;
}

/** What donors are told before they lend. */
export function donorInfoOf({ core, config, access, snapshots }: DonorInfoSources): DonorInfo {
  const { packed, scheduler, swarm, settings } = core;
  const { layers, expertsPerLayer, shardBytes, hiddenSize } = swarm.model;
  const bytesPerValue = config.rowFormat === 'int8' ? INT8_BYTES_PER_VALUE : 2;
  return {
    model: {
      id: scheduler.modelId,
      quant: packed.manifest.shape.quant,
      layers: layers.length,
      expertsPerLayer,
      expertsPerToken: core.config.numExpertsPerTok,
      shardBytes,
      pledgeBytesPerExpert: pledgeFor(1, shardBytes),
    },
    operator: {
      ...said('name', settings.get('operatorName')),
      ...said('contact', settings.get('operatorContact')),
      ...said('about', settings.get('about')),
    },
    need: needOf(swarm, settings.get('replicas')),
    traffic: {
      bytesPerTokenAndLayer: 2 * hiddenSize * bytesPerValue,
      tokensPerSecond: snapshots.tokensPerSecond,
    },
    inviteOnly: access.policy.inviteOnly,
    takesCpu: config.cpuDonors,
  };
}

/** A setting that is left empty is left out. */
function said<Name extends string>(name: Name, text: string): Partial<Record<Name, string>> {
  return text === '' ? {} : ({ [name]: text } as Record<Name, string>);
}

function needOf(swarm: DonorInfoSources['core']['swarm'], replicas: number): DonorInfo['need'] {
  const copies = new Uint16Array(swarm.model.layers.length * swarm.model.expertsPerLayer);
  let servingTabs = 0;
  for (const { live } of swarm.servingAnywhere()) {
    servingTabs++;
    for (const expert of live) copies[expert]!++;
  }
  const fewerThan = (wanted: number): number => copies.reduce((sum, held) => sum + (held < wanted ? 1 : 0), 0);
  return { servingTabs, uncovered: fewerThan(1), thin: fewerThan(replicas), replicas };
}

/** What everybody may know of what is served now. */
export function swarmFacts({ model, operator, need, traffic, inviteOnly }: DonorInfo): SwarmFacts {
  const all = model.layers * model.expertsPerLayer;
  return {
    model: model.id,
    operator,
    tabs: need.servingTabs,
    experts: { served: all - need.uncovered, all },
    tokensPerSecond: traffic.tokensPerSecond,
    inviteOnly,
  };
}
