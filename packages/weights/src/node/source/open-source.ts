import { stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { WeightsError } from '../../errors.ts';
import type { HubPatience } from '../hub/backoff.ts';
import { HubError, type HubErrorReason } from '../hub/hub-error.ts';
import { looksLikeHubName, parseHubName } from '../hub/hub-name.ts';
import { readHubSettings } from '../hub/hub-settings.ts';
import { directorySource } from './directory-source.ts';
import { ggufSource } from './gguf-source.ts';
import { HubSource, type OnFetched } from './hub-source.ts';
import type { ModelSource } from './model-source.ts';

export interface OpenSourceOptions {
  /** Whether nothing may be fetched; HF_HUB_OFFLINE says so, too. */
  offline?: boolean | undefined;
  signal?: AbortSignal | undefined;
  /** Called with a sentence about what is waited for. */
  onNotice?: ((text: string) => void) | undefined;
  /** Called while weights are fetched whole. */
  onFetched?: OnFetched | undefined;
  env?: Readonly<Record<string, string | undefined>>;
  patience?: Partial<HubPatience>;
}

/** A model's directory or GGUF file, or a source that was opened. */
export type SourceOrDir = { modelDir: string } | { source: ModelSource };

export function sourceOf(from: SourceOrDir): ModelSource {
  return 'source' in from ? from.source : localSource(from.modelDir);
}

/** A directory or a GGUF file. */
export function localSource(path: string): ModelSource {
  return path.endsWith('.gguf') ? ggufSource(path) : directorySource(path);
}

/**
 * Opens a model by a path or a hub's name: a directory or a GGUF file where there is one of this name, else `ORG/NAME[@REVISION]`.
 * Reads no weights. Throws WeightsError `bad-model`, or HubError.
 */
export async function openSource(name: string, options: OpenSourceOptions = {}): Promise<ModelSource> {
  const found = await stat(name).catch(() => undefined);
  if (found?.isDirectory() || (found && name.endsWith('.gguf'))) return localSource(name);
  if (found)
    throw new WeightsError('bad-model', `${resolve(name)} is a file, and only *.gguf can be given: give its directory`);
  if (!looksLikeHubName(name)) {
    const problem = `${name}: there is no such directory or file, and it is not the name of a model on a hub`;
    throw new WeightsError(
      'bad-model',
      `${problem}; give a directory with a config.json, a *.gguf file, or ORG/NAME[@REVISION]`,
    );
  }
  const { offline, signal, onNotice, onFetched, env, patience } = options;
  const settings = await readHubSettings(env, offline);
  // A path with a slip in it looks like a name. Where its folder is there, that is told before the hub is asked.
  const mistyped = `there is no directory or file ${resolve(name)}`;
  if (await isDirectory(dirname(resolve(name))))
    onNotice?.(`${mistyped}, so ${name} is taken for the name of a model on a hub`);
  try {
    return await HubSource.open({ settings, name: parseHubName(name), signal, onNotice, patience }, onFetched);
  } catch (error) {
    if (!(error instanceof HubError) || !UNFOUND.includes(error.reason)) throw error;
    throw new HubError(error.reason, `${error.message}; ${mistyped} either`, { cause: error });
  }
}

/** Reasons why it is not known that there is such a model. */
const UNFOUND: readonly HubErrorReason[] = ['no-model', 'offline', 'no-network', 'unavailable'];

async function isDirectory(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() === true;
}
