export * from './types.ts';
export { capacityInExperts, PLEDGE_FILL } from './ledger.ts';
export * from './placement.ts';
export * from './load.ts';
export * from './move-allowance.ts';
export * from './cover.ts';
export * from './device-limit.ts';
export * from './eplb.ts';
export * from './baselines.ts';
