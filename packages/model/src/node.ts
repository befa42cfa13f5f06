export { type Checkpoint, openCheckpoint, readJson, RowScratch } from './checkpoint.ts';
export { loadGenerationConfig, loadTokenizer } from './load-tokenizer.ts';
export { readFully } from './read-fully.ts';
