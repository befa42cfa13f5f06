export { ADAPTER_CONFIG_FILE, otherAdapterFiles, readAdapter, type ReadAdapter } from './adapters/read-adapter.ts';
export { type Checkpoint, openDirectory, type SafetensorsCheckpoint } from './checkpoint.ts';
export { ggufFiles, ggufFingerprint } from './gguf/model-files.ts';
export { openHead, type OpenHead, readHeadConfig } from './heads/open-head.ts';
export { parseJson, readJson, readTextIfPresent } from './json-file.ts';
export {
  loadGenerationConfig,
  loadTokenizer,
  readTokenizerFiles,
  type TokenizerFiles,
  tokenizerFrom,
} from './load-tokenizer.ts';
export type { ModelFile, ModelFolder } from './model-folder.ts';
export { openCheckpoint } from './open-checkpoint.ts';
export { readFully } from './read-fully.ts';
export { readModelConfig } from './read-model-config.ts';
export { RowScratch } from './row-scratch.ts';
export { tokenizerSource } from './tiktoken-model.ts';
export type { OpenWeightFile } from './weight-files.ts';
export { withEncoderLimit } from './encoder-limit.ts';
