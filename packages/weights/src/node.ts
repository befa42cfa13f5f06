export { exportGguf } from './node/gguf/export.ts';
export type { GgufType } from './node/gguf/format.ts';
export { makeFolder, writeWhole } from './node/files.ts';
export { isPackedDir, type OpenModel, openModel, openPackedModel } from './node/open-model.ts';
export { ensurePacked, packModel } from './node/pack-model.ts';
export type { PackProgress } from './node/pack-run.ts';
export { type Damage, openPacked, type PackedModel } from './node/packed-model.ts';
export { startTypescriptThread } from './node/typescript-thread.ts';
