export * from './errors.ts';
export * from './shard-cache.ts';
export * from './shard-store.ts';
export * from './shard-load.ts';
export * from './expert-runner.ts';
export * from './peer-host.ts';
export * from './relayed-channel.ts';
// A page imports this package alone: what it needs of the connection and the kernels comes through here.
export { BROWSER_SPREAD_ABOVE_BYTES, connectDonor, type DataChannelLike, FramedChannel } from '@shoal/transport';
export { createWasmBackend, createWebGpuBackend, hasWasmSimd, KernelError } from '@shoal/kernels';
