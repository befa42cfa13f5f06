export { packModel, ensurePacked } from './node/pack-model.ts';
export type { PackOptions, PackProgress, EnsurePackedOptions } from './node/pack-model.ts';
export { openPacked } from './node/packed-model.ts';
export type { PackedModel } from './node/packed-model.ts';
export { sourceFingerprint } from './node/fingerprint.ts';
