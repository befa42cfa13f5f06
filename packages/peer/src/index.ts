export { type Allowance, AllowanceWatch } from './allowance.ts';
export { ExpertRunner, HOME, type LapBackend } from './expert-runner.ts';
export type { FetchedBytes } from './fetch-tally.ts';
export {
  EXPERT_KINDS,
  KEPT_PLEDGES,
  PeerHost,
  type PeerHostOptions,
  type PeerHostStats,
  trafficOf,
} from './peer-host.ts';
export type { PeerModel } from './peer-model.ts';
export { ShardCacheError } from './errors.ts';
export { RelayedChannel, relayChannel } from './relayed-channel.ts';
export { CacheStorageShardCache, MemoryShardCache, type ShardCache } from './shard-cache.ts';
// A page imports only this package, so what it needs of the connection and the kernels is re-exported here.
export { createWasmBackend, createWebGpuBackend, hasWasmSimd, KernelError } from '@shoal/kernels';
export {
  BROWSER_SPREAD_ABOVE_BYTES,
  connectDonor,
  type DataChannelLike,
  type DonorConnection,
  FramedChannel,
  MAX_MISSED_OF_COORDINATOR,
} from '@shoal/transport';
