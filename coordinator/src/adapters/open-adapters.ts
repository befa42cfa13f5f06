import { type ForwardEngine, messageOf, type Tokenizer } from '@shoal/model';
import { readAdapter } from '@shoal/model/node';
import type { OpenSourceOptions } from '@shoal/weights/node';
import type { EventLog } from '../base/event-log.ts';
import { UsageError } from '../base/usage-error.ts';
import type { Config } from '../config.ts';
import { readAbout } from './adapter-about.ts';
import { adapterDir } from './adapter-place.ts';
import { AdapterChooser } from './adapter-chooser.ts';
import { Adapters } from './adapters.ts';

/** Memory for adapters in the dense engine; 0 where there will be none. */
export function adapterBytesOf({ adapters, adapterRoot, adapterMemoryBytes }: Config): number {
  return adapters.size > 0 || adapterRoot !== undefined ? adapterMemoryBytes : 0;
}

/**
 * The adapters of an engine, with those of `--adapter` loaded. `names`: the model's, its own first. Throws a UsageError that names
 * the option.
 */
export async function openAdapters(
  config: Config,
  { forward, tokenizer }: { forward: ForwardEngine; tokenizer: Tokenizer },
  names: readonly string[],
  { events, onNotice, signal }: Pick<OpenSourceOptions, 'onNotice' | 'signal'> & { events: EventLog },
): Promise<Adapters> {
  const { offline, modelAliases } = config;
  const adapters = new Adapters({
    read: async (source, maxBytes) => {
      const dir = await adapterDir(source, { offline, signal, onNotice });
      return { ...(await readAdapter(dir, forward.config, maxBytes)), about: await readAbout(dir) };
    },
    chooser: new AdapterChooser({
      encode: (text) => tokenizer.encode(text),
      tokenEmbedding: (id) => forward.tokenEmbedding(id),
      threshold: config.adapterThreshold,
    }),
    open: (adapter) => forward.openAdapter(adapter),
    memoryBytes: adapterBytesOf(config),
    modelNames: [...names, ...modelAliases].filter((name) => name !== ''),
    onChange: (text, level) => {
      events.add({ level, kind: 'server', text });
      if (level === 'warning') onNotice?.(text);
    },
  });
  for (const [name, place] of config.adapters) {
    await adapters.load(name, place).catch((cause: unknown) => {
      throw new UsageError(`--adapter ${name}=${place}: ${messageOf(cause)}`, { cause });
    });
  }
  return adapters;
}
