export { type Checkpoint, openCheckpoint, readJson, RowScratch } from './checkpoint.ts';
export {
  loadGenerationConfig,
  loadTokenizer,
  readTokenizerFiles,
  type TokenizerFiles,
  tokenizerFrom,
} from './load-tokenizer.ts';
export { readFully } from './read-fully.ts';
