import { type ModelSource, openSource } from '@shoal/weights/node';
import { option } from '../base/options.ts';
import { CONFIG_OPTIONS, MODEL } from '../config.ts';
import type { CommandIo } from './command.ts';
import { progressLine } from './progress.ts';

const HELP = 'ORG/NAME[@REVISION] of a hub, a Hugging Face directory, a *.gguf file, or a directory made by shoal pack';

/** The options of a command that needs a model. */
export const MODEL_OPTIONS = {
  model: option('model', MODEL, { required: true, help: HELP }),
  offline: CONFIG_OPTIONS.offline,
};

interface ModelOptions {
  model: string;
  offline: boolean;
}

/** Opens the model of a command. What it waits for, and what it fetches, is told on stderr. */
export async function openModelOption(
  { model, offline }: ModelOptions,
  io: Pick<CommandIo, 'stderr'>,
  signal?: AbortSignal,
): Promise<ModelSource> {
  keepOffline({ offline });
  const fetching = progressLine(io, 'fetching');
  const onNotice = (text: string): void => void io.stderr.write(`shoal: ${text}\n`);
  return openSource(model, { offline, signal, onNotice, onFetched: fetching.update });
}

/** Lets `--offline` go for every thread of this process. */
export function keepOffline({ offline }: Pick<ModelOptions, 'offline'>): void {
  if (offline) process.env['HF_HUB_OFFLINE'] = '1';
}
