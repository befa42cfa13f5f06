import { basename, resolve } from 'node:path';
import { ggufFiles, ggufFingerprint, openCheckpoint } from '@shoal/model/node';
import { WeightsError } from '../../errors.ts';
import { type ModelSource, wholeInput } from './model-source.ts';

/** A GGUF file, the first where a model is split. */
export function ggufSource(path: string): ModelSource {
  const file = resolve(path);
  return {
    spec: file,
    modelId: basename(file).replace(/(-00001-of-\d{5})?\.gguf$/, ''),
    alias: undefined,
    // The folder around it is no part of it, and may hold anything.
    dir: undefined,
    fingerprint: () => ggufFingerprint(file),
    config: async () => {
      const checkpoint = await openCheckpoint(file);
      await checkpoint.close();
      return checkpoint.config;
    },
    files: () => ggufFiles(file),
    metaDir: async () => undefined,
    weightsDir: async () => {
      throw new WeightsError('bad-model', `${file} is a GGUF file: give a directory with safetensors`);
    },
    open: () => openCheckpoint(file),
    openFew: () => openCheckpoint(file),
    openForPacking: async () => wholeInput(file, await openCheckpoint(file)),
  };
}
