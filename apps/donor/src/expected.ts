import type { DonorInfo } from '@shoal/protocol';

/** What lending comes to with this model and this pledge. Upper ends: where many tabs share the work, each has less of it. */
export interface Expected {
  /** That fit the pledge, and those of the model in all. */
  experts: number;
  allExperts: number;
  downloadBytes: number;
  /** Over the network for each token that is answered, both ways. */
  bytesPerToken: number;
  /** The same at the recent rate of answers. */
  bytesPerHour: number;
}

/**
 * A tab holds whole layers where it can. A token of a layer of which it holds n of E experts comes to it if one of the token's k
 * experts is among these: with a probability of 1 − (1 − n/E)^k, as if they were drawn one by one.
 */
export function expectedOf({ model, traffic }: DonorInfo, pledgeBytes: number): Expected {
  const { layers, expertsPerLayer, expertsPerToken, shardBytes, pledgeBytesPerExpert } = model;
  const allExperts = layers * expertsPerLayer;
  const experts = Math.min(allExperts, Math.floor(pledgeBytes / pledgeBytesPerExpert));
  const wholeLayers = expertsPerLayer === 0 ? 0 : Math.floor(experts / expertsPerLayer);
  const rest = experts - wholeLayers * expertsPerLayer;
  const restShare = rest === 0 ? 0 : 1 - (1 - rest / expertsPerLayer) ** expertsPerToken;
  const bytesPerToken = (wholeLayers + restShare) * traffic.bytesPerTokenAndLayer;
  return {
    experts,
    allExperts,
    downloadBytes: experts * shardBytes,
    bytesPerToken,
    bytesPerHour: bytesPerToken * traffic.tokensPerSecond * 3600,
  };
}
