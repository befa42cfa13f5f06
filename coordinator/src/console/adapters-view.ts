import { AdapterError, messageOf } from '@shoal/model';
import type { AdapterCommand, AdaptersView, CommandReply } from '@shoal/protocol';
import { adapterDirInside } from '../adapters/adapter-place.ts';
import { type Adapters, AdaptersError } from '../adapters/adapters.ts';

export interface ConsoleAdapters {
  adapters: Pick<Adapters, 'all' | 'loads' | 'bytes' | 'memoryBytes' | 'load' | 'unload'>;
  /** The directory of --adapter-dir. */
  adapterRoot: string | undefined;
}

/** What the console shows of adapters; null where there can be none. */
export function adaptersView({ adapters, adapterRoot }: ConsoleAdapters): AdaptersView | null {
  const { all, loads, bytes, memoryBytes } = adapters;
  if (memoryBytes === 0) return null;
  return {
    loaded: all.map(
      ({ name, source, about, rank, denseLayers, expertLayers, mixture, bytes: own, users, loadedMs }) => ({
        name,
        source,
        description: about.description,
        examples: about.examples.length,
        rank,
        denseLayers,
        expertLayers,
        mixes: mixture?.numAdapters ?? 0,
        bytes: own,
        requests: users,
        loadedMs,
      }),
    ),
    loading: loads.map(({ name, source, sinceMs }) => ({ name, source, sinceMs })),
    bytes,
    memoryBytes,
    takesMore: adapterRoot !== undefined,
  };
}

const NO_ROOT =
  'This coordinator loads no adapters at run time. Start it with --adapter-dir and the directory that they are in.';

/** Loads or unloads an adapter. What is wrong with it is told as it is: only operators can ask. */
export async function runAdapterCommand(
  command: AdapterCommand,
  { adapters, adapterRoot }: ConsoleAdapters,
): Promise<CommandReply> {
  try {
    if (command.command === 'unload-adapter') {
      adapters.unload(command.name);
      return { ok: true };
    }
    if (adapterRoot === undefined) return { ok: false, message: NO_ROOT };
    const { name, path, description } = command;
    const about = description === undefined ? {} : { description };
    await adapters.load(name, await adapterDirInside(adapterRoot, path), { about, shownSource: path });
    return { ok: true };
  } catch (error) {
    if (!(error instanceof AdaptersError || error instanceof AdapterError)) throw error;
    return { ok: false, message: `${messageOf(error)}.` };
  }
}
