export { type Checkpoint, openCheckpoint, RowScratch } from './checkpoint.ts';
export { readJson } from './json-file.ts';
export {
  loadGenerationConfig,
  loadTokenizer,
  readTokenizerFiles,
  type TokenizerFiles,
  tokenizerFrom,
} from './load-tokenizer.ts';
export { readFully } from './read-fully.ts';
