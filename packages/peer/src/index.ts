export * from './errors.ts';
export * from './shard-cache.ts';
export * from './shard-store.ts';
export * from './shard-load.ts';
export * from './expert-runner.ts';
export * from './peer-host.ts';
