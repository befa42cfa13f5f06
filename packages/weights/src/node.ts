export { packModel, ensurePacked } from './node/pack-model.ts';
export type { PackOptions, PackProgress, EnsurePackedOptions } from './node/pack-model.ts';
export { openPacked } from './node/packed-model.ts';
export type { PackedModel } from './node/packed-model.ts';
export { sourceFingerprint } from './node/fingerprint.ts';
export { exportGguf } from './node/gguf/export.ts';
export type { ExportOptions } from './node/gguf/export.ts';
export type { GgufType } from './node/gguf/format.ts';
