import { type Adapter, AdapterError, type EngineAdapter } from '@shoal/model';
import { steadyUnixMs } from '../base/clock.ts';
import type { AdapterAbout } from './adapter-about.ts';
import { type AdapterChooser, AUTO_MODEL, type Choice } from './adapter-chooser.ts';
import { AdapterShards } from './adapter-shards.ts';
import { ServedAdapter } from './served-adapter.ts';

interface ReadAdapter {
  adapter: Adapter;
  baseModel: string | null;
  about: AdapterAbout;
}

export interface LoadOptions {
  /** Whether it may take the place of one of the same name. */
  replaces?: boolean;
  /** In the place of what its folder says. */
  about?: Partial<AdapterAbout>;
  /** Where it is from, for people; by default the source. */
  shownSource?: string;
}

/** A load that has not ended. */
export interface AdapterLoad {
  name: string;
  source: string;
  sinceMs: number;
}

export interface AdaptersOptions {
  /** Reads an adapter, of at most so many bytes in memory. */
  read: (source: string, maxBytes: number) => Promise<ReadAdapter>;
  chooser: AdapterChooser;
  open: (adapter: Adapter) => EngineAdapter;
  /** For all that are loaded, or still used by an answer. */
  memoryBytes: number;
  /** The model's own names, which no adapter may have. */
  modelNames: readonly string[];
  /** Called with a sentence about what was loaded and unloaded. */
  onChange?: (text: string, level: 'info' | 'warning') => void;
}

/** Each costs an entry of a table for each layer; it also bounds /v1/models. */
const MAX_ADAPTERS = 256;
/** Loads that wait for others. */
const MAX_WAITING = 16;
const NAME = /^[\w.:@/+-]{1,128}$/;

/** Why an adapter is not loaded or unloaded, beside what is wrong with its files. */
export type AdaptersErrorReason = 'bad-name' | 'name-taken' | 'unknown' | 'full' | 'busy';

export class AdaptersError extends Error {
  readonly reason: AdaptersErrorReason;
  constructor(reason: AdaptersErrorReason, message: string) {
    super(message);
    this.name = 'AdaptersError';
    this.reason = reason;
  }
}

/** The adapters that requests may name as their model. */
export class Adapters {
  /** What tabs may hold of them. */
  readonly shards = new AdapterShards();
  readonly #options: AdaptersOptions;
  readonly #byName = new Map<string, ServedAdapter>();
  /** Of those that are loaded, and of unloaded ones that answers still use. */
  #bytes = 0;
  #nextId = 1;
  readonly #loads = new Set<AdapterLoad>();
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: AdaptersOptions) {
    this.#options = options;
  }

  get all(): readonly ServedAdapter[] {
    return [...this.#byName.values()];
  }

  /** Memory of all that are loaded, or still used. */
  get bytes(): number {
    return this.#bytes;
  }

  get memoryBytes(): number {
    return this.#options.memoryBytes;
  }

  /** The loads that run or wait, in their order. */
  get loads(): readonly AdapterLoad[] {
    return [...this.#loads];
  }

  /** Whether a model of this name asks for the adapter that fits the prompt. The model's own names come first. */
  isAuto(name: string): boolean {
    const { memoryBytes, modelNames } = this.#options;
    return name === AUTO_MODEL && memoryBytes > 0 && !modelNames.includes(name);
  }

  /** The adapter that fits a prompt best, if one does. */
  choose(ids: readonly number[]): Choice<ServedAdapter> {
    return this.#options.chooser.choose(ids, this.#byName.values());
  }

  find(name: string): ServedAdapter | undefined {
    return this.#byName.get(name);
  }

  /**
   * Loads an adapter, one at a time. With `replaces` it takes the place of one of the same name; answers that began with that go
   * on with it. Rejects with an AdaptersError or AdapterError, and nothing has changed.
   */
  async load(name: string, source: string, options: LoadOptions = {}): Promise<ServedAdapter> {
    this.#checkName(name, options.replaces ?? false);
    if (this.#loads.size >= MAX_WAITING) {
      throw new AdaptersError('busy', `${MAX_WAITING} adapters are being loaded; wait`);
    }
    const load = { name, source: options.shownSource ?? source, sinceMs: steadyUnixMs() };
    this.#loads.add(load);
    const loading = this.#last.then(() => this.#load(name, source, options));
    this.#last = loading.catch(() => undefined).finally(() => this.#loads.delete(load));
    return loading;
  }

  /** Takes no more requests for an adapter. Throws an AdaptersError if there is none of that name. */
  unload(name: string): void {
    const adapter = this.#byName.get(name);
    if (!adapter) throw new AdaptersError('unknown', `there is no adapter named "${name}"`);
    this.#byName.delete(name);
    adapter.retire();
    this.#options.onChange?.(`The adapter ${name} was unloaded`, 'info');
  }

  async #load(name: string, source: string, options: LoadOptions): Promise<ServedAdapter> {
    const { read, open, chooser, memoryBytes, modelNames, onChange } = this.#options;
    const { replaces = false, about: given, shownSource = source } = options;
    // Others may have been loaded meanwhile.
    this.#checkName(name, replaces);
    const room = memoryBytes - this.#bytes;
    const {
      adapter,
      baseModel,
      about: found,
    } = await read(source, room).catch((error: unknown) => {
      throw error instanceof AdapterError && error.reason === 'too-large' ? this.#noRoom(error) : error;
    });
    const about = { ...found, ...given };
    const points = chooser.pointsOf(about);
    const engine = open(adapter);
    const { experts, mixture } = adapter;
    const bytes = engine.bytes + adapter.expertBytes + (mixture?.bytes ?? 0);
    this.#bytes += bytes;
    const routed = mixture?.experts ?? [experts];
    for (const each of routed) this.shards.add(name, each);
    const facts = { source: shownSource, about, points, adapter, bytes };
    const served = new ServedAdapter(name, this.#nextId++, engine, facts, () => {
      this.#bytes -= bytes;
      for (const each of routed) this.shards.remove(each);
    });
    this.#byName.get(name)?.retire();
    this.#byName.set(name, served);
    onChange?.(`The adapter ${name} was loaded (${bytes} bytes)`, 'info');
    if (mixture) {
      onChange?.(
        `The adapter ${name} mixes ${mixture.numAdapters} adapters: each pass of its answers makes a first one for their scalings`,
        'warning',
      );
    }
    if (isOther(baseModel, modelNames)) {
      onChange?.(
        `The adapter ${name} was trained on ${baseModel}, as it says; its shapes fit ${modelNames[0]}, but its answers may not`,
        'warning',
      );
    }
    return served;
  }

  #checkName(name: string, replaces: boolean): void {
    if (!NAME.test(name)) {
      throw new AdaptersError('bad-name', 'an adapter’s name has 1 to 128 letters, digits and . : @ / + - _');
    }
    if (this.#options.modelNames.includes(name)) {
      throw new AdaptersError('name-taken', `"${name}" is a name of the model itself`);
    }
    if (name === AUTO_MODEL) {
      throw new AdaptersError('name-taken', `"${name}" is how requests ask for the adapter that fits; choose another`);
    }
    const isThere = this.#byName.has(name);
    if (isThere && !replaces) throw new AdaptersError('name-taken', `an adapter named "${name}" is loaded already`);
    if (!isThere && this.#byName.size >= MAX_ADAPTERS) {
      throw new AdaptersError('full', `${MAX_ADAPTERS} adapters are loaded; unload one`);
    }
  }

  #noRoom(cause: AdapterError): AdapterError {
    const { memoryBytes } = this.#options;
    const remedy = 'unload another one, or start with a larger --adapter-memory';
    const used = `${this.#bytes} of ${memoryBytes} bytes of --adapter-memory are used`;
    return new AdapterError('too-large', `${cause.message} (${used}): ${remedy}`, { cause });
  }
}

/** Whether an adapter says that it was trained on a model of another name. Paths and owners say little, so they don't count. */
function isOther(baseModel: string | null, modelNames: readonly string[]): boolean {
  const last = (name: string): string => (name.replace(/\/+$/, '').split('/').at(-1) ?? '').toLowerCase();
  if (baseModel === null || last(baseModel) === '') return false;
  return !modelNames.some((name) => last(name) === last(baseModel));
}
