import { readdir } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { openDirectory, readModelConfig } from '@shoal/model/node';
import { sourceFingerprint } from '../fingerprint.ts';
import { readModelFiles } from '../model-files.ts';
import { type ModelSource, wholeInput } from './model-source.ts';
import { refuseKind } from './refuse-kind.ts';

/** A Hugging Face model directory. */
export function directorySource(path: string): ModelSource {
  const dir = resolve(path);
  const refuseOthers = async () => refuseKind(await readdir(dir).catch(() => []), dir);
  const open = async () => {
    await refuseOthers();
    return openDirectory(dir);
  };
  return {
    spec: dir,
    modelId: basename(dir),
    alias: undefined,
    dir,
    fingerprint: async () => {
      await refuseOthers();
      return sourceFingerprint(dir);
    },
    config: () => readModelConfig(join(dir, 'config.json')),
    files: () => readModelFiles(dir),
    metaDir: async () => {
      await refuseOthers();
      return dir;
    },
    weightsDir: async () => {
      await refuseOthers();
      return dir;
    },
    open,
    openFew: open,
    openForPacking: async () => wholeInput(dir, await open()),
  };
}
