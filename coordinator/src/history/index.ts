export { DatabaseHistory } from './database-history.ts';
export { historyOf, type HistoryStore } from './history.ts';
export { MemoryHistory } from './memory-history.ts';
export { Sampler } from './sampler.ts';
