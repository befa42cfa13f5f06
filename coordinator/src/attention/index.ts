export { AttentionWatch } from './attention-watch.ts';
export { FactGatherer } from './gather.ts';
export { Probes } from './probes.ts';
export { TabClocks } from './tab-clocks.ts';
