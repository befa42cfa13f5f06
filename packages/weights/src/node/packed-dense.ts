import { open, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import type { ModelConfig } from '@shoal/model';
import { readFully } from '@shoal/model/node';
import { DENSE_FILE, readDenseHeader } from '../dense/header.ts';
import type { DenseEntry, DenseLayout, PackedDense } from '../dense/layout.ts';
import type { Manifest } from '../manifest.ts';
import { sha256 } from './files.ts';

/** What is wrong with a file, without its name. */
export class DamageError extends Error {}

/** The file of the dense weights, open for reading. Throws DamageError, or WeightsError `corrupt` for a bad header. */
export class DenseReader implements PackedDense {
  readonly layout: DenseLayout;
  readonly #file: FileHandle;
  readonly #hashes: Manifest['dense']['entries'];

  private constructor(file: FileHandle, layout: DenseLayout, hashes: Manifest['dense']['entries']) {
    this.#file = file;
    this.layout = layout;
    this.#hashes = hashes;
  }

  static async open(dir: string, config: ModelConfig, { dense }: Manifest): Promise<DenseReader> {
    const path = join(dir, DENSE_FILE);
    const file = await open(path, 'r');
    try {
      const { size } = await file.stat();
      const layout = await readDenseHeader(config, path, size, async (offset, bytes) => {
        const buffer = new Uint8Array(bytes);
        await readFully(file, buffer, offset);
        return buffer;
      });
      return new DenseReader(file, layout, dense.entries);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** The bytes are hashed where they were read to, so that nothing can change between the check and their use. */
  async read({ name, offset, bytes }: DenseEntry, target: Uint8Array): Promise<void> {
    const read = await readFully(this.#file, target, offset);
    if (read !== bytes) throw new DamageError(`ends at byte ${offset + read}`);
    if (sha256(target) !== this.#hashes[name]) throw new DamageError(`has other bytes for ${name} than were packed`);
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}
