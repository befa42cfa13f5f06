import { isMoeLayer, type ModelConfig, moeLayers } from '@shoal/model';
import { LoadMeter } from '@shoal/placement';
import { shardHash } from '@shoal/weights';
import type { Adapters } from './adapters/adapters.ts';
import type { Loaded } from './loaded.ts';
import type { SwarmCluster } from './swarm/swarm-cluster.ts';
import { Swarm } from './swarm/swarm.ts';
import type { Trust } from './trust/trust.ts';

/** The layer of the MTP module, where the model has one with experts. */
export function mtpLayerOf(model: ModelConfig): number | undefined {
  return isMoeLayer(model, model.numHiddenLayers) ? model.numHiddenLayers : undefined;
}

/** The layers whose experts are on tabs. */
export function swarmLayers({ model, localLayers, localExperts }: Loaded): number[] {
  const layers = moeLayers(model).filter((layer) => !localExperts.localLayers.layers.has(layer));
  return localLayers.mtp === 'tabs' ? [...layers, mtpLayerOf(model)!] : layers;
}

export interface SwarmParts {
  adapterShards: Adapters['shards'];
  /** [layers.length × nRoutedExperts], rows that each expert was asked for since start. */
  counters: (layers: readonly number[]) => Float64Array;
  cluster: SwarmCluster | undefined;
}

export function newSwarm(loaded: Loaded, trust: Trust, { counters, ...parts }: SwarmParts): Swarm {
  const { config, packed, health, model, localExperts, events, settings } = loaded;
  const { manifest } = packed;
  const { nRoutedExperts: expertsPerLayer, hiddenSize, gate } = model;
  const layers = swarmLayers(loaded);
  const meter = new LoadMeter(layers.length * expertsPerLayer);
  const { shardBytes } = manifest;
  return new Swarm({
    ...parts,
    model: { layers, expertsPerLayer, groupsPerLayer: gate.nGroup, shardBytes, hiddenSize },
    expertNeeds: manifest.shape,
    shardHash: (layer, expert) => shardHash(manifest, layer, expert)!,
    local: localExperts.work.audits,
    trust,
    events,
    onBadShards: (hashes) => health.suspect(hashes),
    replicas: () => settings.get('replicas'),
    rowFormat: config.rowFormat,
    cpuDonors: config.cpuDonors,
    load: () => meter.read(counters(layers), performance.now()),
  });
}
