import { z } from 'zod';
import { CheckpointError } from '../errors.ts';
import type { GgufValue } from './header.ts';

/** A file's metadata, read by key and kind. Its errors name the file and the key. */
export class Metadata {
  readonly architecture: string;
  readonly file: string;
  readonly #values: ReadonlyMap<string, GgufValue>;

  constructor(values: ReadonlyMap<string, GgufValue>, file: string) {
    this.#values = values;
    this.file = file;
    this.architecture = this.get('general.architecture', z.string());
  }

  /** The value of a key; throws if it is absent or not of this kind. `{arch}` stands for the architecture's name. */
  get<S extends z.ZodType>(key: string, schema: S): z.infer<S> {
    const value = this.find(key, schema);
    if (value !== undefined) return value;
    throw this.bad(key, 'is missing: convert the model again with a current llama.cpp');
  }

  /** The value of a key; undefined if it is absent. */
  find<S extends z.ZodType>(key: string, schema: S): z.infer<S> | undefined {
    const name = this.#nameOf(key);
    const value = this.#values.get(name);
    if (value === undefined) return undefined;
    const parsed = schema.safeParse(value);
    if (parsed.success) return parsed.data;
    const shown = JSON.stringify(Array.isArray(value) ? value.slice(0, 4) : value).slice(0, 100);
    throw this.bad(key, `is ${shown}: ${parsed.error.issues[0]!.message}`);
  }

  number(key: string): number {
    return this.get(key, z.number());
  }

  findNumber(key: string): number | undefined {
    return this.find(key, z.number());
  }

  /** A number, or one for each layer where all must be the same, because config.json has one. Layers of another kind have 0. */
  same(key: string): number | undefined {
    const value = this.find(key, z.union([z.number(), z.array(z.number())]));
    if (!Array.isArray(value)) return value;
    const [first, ...others] = new Set(value.filter((one) => one !== 0));
    if (others.length === 0) return first;
    throw this.bad(key, `differs between layers (${first}, ${others[0]}, …), which this version does not compute`);
  }

  bad(key: string, detail: string): CheckpointError {
    return new CheckpointError('bad-header', this.file, undefined, `metadata key ${this.#nameOf(key)} ${detail}`);
  }

  #nameOf(key: string): string {
    return key.startsWith('{arch}') ? `${this.architecture}${key.slice('{arch}'.length)}` : key;
  }
}
