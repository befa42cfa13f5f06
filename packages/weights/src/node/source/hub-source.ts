import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { CheckpointError, type ModelConfig, parseHeader, PREFIX_BYTES } from '@shoal/model';
import {
  type Checkpoint,
  type ModelFile,
  openDirectory,
  type OpenWeightFile,
  readJson,
  readModelConfig,
} from '@shoal/model/node';
import { WeightsError } from '../../errors.ts';
import { freeBytesOf } from '../files.ts';
import { fetchBytes, fetchHeader, HeaderSum, readHeaderOf } from '../hub/file-header.ts';
import { HubCheckout, INDEX_FILE, isSmallFile } from '../hub/hub-checkout.ts';
import type { HubClientOptions } from '../hub/hub-client.ts';
import { HubError } from '../hub/hub-error.ts';
import type { HubFile } from '../hub/hub-repo.ts';
import { Stage, STAGE_DIR } from '../hub/stage.ts';
import { lockFolder } from '../lock.ts';
import { readModelFiles } from '../model-files.ts';
import { type ModelSource, type PackInput, wholeInput } from './model-source.ts';
import { refuseKind } from './refuse-kind.ts';
import { openStagedInput } from './staged-input.ts';

/** Bytes that are here, of all that are wanted. */
export type OnFetched = (progress: { doneBytes: number; totalBytes: number }) => void;

const SINGLE_FILE = 'model.safetensors';

/** A model of a hub, at a commit. */
export class HubSource implements ModelSource {
  readonly spec: string;
  readonly modelId: string;
  readonly alias: string;
  readonly dir = undefined;
  readonly #checkout: HubCheckout;
  readonly #onFetched: OnFetched;

  private constructor(checkout: HubCheckout, onFetched: OnFetched) {
    const { name, repo } = checkout.client.name;
    this.spec = checkout.label;
    this.modelId = name;
    this.alias = repo;
    this.#checkout = checkout;
    this.#onFetched = onFetched;
  }

  /** Finds the commit, and fetches nothing else. Throws HubError. */
  static async open(options: HubClientOptions, onFetched: OnFetched = () => {}): Promise<HubSource> {
    return new HubSource(await HubCheckout.open(options), onFetched);
  }

  /**
   * Over names and hashes of the files that count, as the hub lists them: most commits change none of them. Only a cache that other
   * programs have filled has no list offline, and then the commit has to do.
   */
  async fingerprint(): Promise<string> {
    const files = await this.#checkout.knownFiles();
    const parts = files
      ?.filter(({ name }) => isSmallFile(name) || name.endsWith('.safetensors'))
      .map(({ name, bytes, digest }) => `${name} ${bytes} ${digest.hex}`);
    return createHash('sha256')
      .update(parts ? parts.sort().join('\n') : `hub ${this.#checkout.commit}`)
      .digest('hex');
  }

  /** Asks nothing where the config is in the cache. */
  async config(): Promise<ModelConfig> {
    const cached = await this.#checkout.cache.find(this.#checkout.commit, 'config.json');
    return readModelConfig(cached ?? join(await this.metaDir(), 'config.json'));
  }

  async files(): Promise<ModelFile[]> {
    return readModelFiles(await this.metaDir());
  }

  /** Fetches config, index and tokenizer, after a look at what the repository is. */
  async metaDir(): Promise<string> {
    const names = await this.#checkout.names();
    refuseKind(names, this.spec);
    if (names.length > 0 && !names.includes('config.json')) {
      throw new WeightsError(
        'bad-model',
        `${this.spec} has no config.json in its top folder, so it is no model that can be served`,
      );
    }
    return this.#checkout.fetchSmallFiles();
  }

  /** Bytes of the files with weights, and of those that are not on this machine; undefined offline where that is not known. */
  async weights(): Promise<{ files: number; totalBytes: number; missingBytes: number } | undefined> {
    if ((await this.#checkout.knownFiles()) === undefined) return undefined;
    const files = await this.#weightFiles();
    return { files: files.length, totalBytes: bytesOf(files), missingBytes: bytesOf(await this.#missing(files)) };
  }

  async weightsDir(): Promise<string> {
    const dir = await this.metaDir();
    if (this.#checkout.offline === undefined) await this.#fetchAll(await this.#weightFiles());
    else await this.#linkCached();
    return dir;
  }

  async open(): Promise<Checkpoint> {
    const dir = await this.weightsDir();
    return this.#checkout.offline === undefined ? openDirectory(dir) : this.#openCached(dir);
  }

  /** Reads ranges over the network, except of files that are here. */
  async openFew(): Promise<Checkpoint> {
    const dir = await this.metaDir();
    if (this.#checkout.offline !== undefined) return this.#openCached(dir);
    const { client, commit } = this.#checkout;
    const files = new Map((await this.#weightFiles()).map((file) => [file.name, file]));
    const headers = new HeaderSum();
    const openFile: OpenWeightFile = async (name) => {
      const file = files.get(name) ?? this.#unlisted(name);
      const header = await this.#header(file);
      headers.add(header, name);
      const table = parseHeader(header.subarray(PREFIX_BYTES), file.bytes, name);
      const read = async (offset: number, target: Uint8Array): Promise<void> => {
        target.set(await fetchBytes(client, { commit, file }, offset, offset + target.byteLength));
      };
      return { name, table, read, close: async () => {} };
    };
    return openDirectory(dir, openFile);
  }

  async openForPacking(outDir: string): Promise<PackInput> {
    const metaDir = await this.metaDir();
    if (this.#checkout.offline !== undefined) return wholeInput(metaDir, await this.#openCached(metaDir));
    const { commit, client } = this.#checkout;
    const listed = new Map((await this.#weightFiles()).map((file) => [file.name, file]));
    const files: { name: string; bytes: number; path: string | undefined }[] = [];
    for (const file of listed.values()) {
      files.push({ name: file.name, bytes: file.bytes, path: await this.#checkout.cached(file) });
    }
    const fingerprint = await this.fingerprint();
    const list = { commit, fingerprint, metaDir, files };
    const stage = await Stage.create(join(outDir, STAGE_DIR), list, ({ name }, signal) => {
      return fetchHeader(client.until(signal), commit, listed.get(name)!);
    });
    return openStagedInput(stage, { spec: this.spec, client, listed });
  }

  async #openCached(dir: string): Promise<Checkpoint> {
    await this.#linkCached();
    try {
      return await openDirectory(dir);
    } catch (error) {
      if (!(error instanceof CheckpointError) || error.reason !== 'not-found') throw error;
      throw this.#checkout.notCached('all weights', error);
    }
  }

  /** Links what other commits have of the same files. */
  async #linkCached(): Promise<void> {
    if (await this.#checkout.knownFiles()) await this.#missing(await this.#weightFiles());
  }

  /** The files that the index names, or the one that is enough without an index. */
  async #weightFiles(): Promise<HubFile[]> {
    const listed = await this.#checkout.files();
    const dir = await this.metaDir();
    if (!listed.some(({ name }) => name === INDEX_FILE))
      return [listed.find(({ name }) => name === SINGLE_FILE) ?? this.#unlisted(SINGLE_FILE)];
    const index = (await readJson(join(dir, INDEX_FILE))) as { weight_map?: unknown } | null;
    // It is checked where it is read. Names that are not listed are no files here.
    const named = new Set(Object.values(index?.weight_map ?? {}));
    return listed.filter(({ name }) => named.has(name));
  }

  async #missing(files: readonly HubFile[]): Promise<HubFile[]> {
    const missing: HubFile[] = [];
    for (const file of files) if ((await this.#checkout.cached(file)) === undefined) missing.push(file);
    return missing;
  }

  async #header(file: HubFile): Promise<Uint8Array> {
    const path = await this.#checkout.cached(file);
    return path === undefined
      ? fetchHeader(this.#checkout.client, this.#checkout.commit, file)
      : readHeaderOf(path, file.bytes, file.name);
  }

  /** Fetches files into the cache. */
  async #fetchAll(files: readonly HubFile[]): Promise<void> {
    const missing = await this.#missing(files);
    if (missing.length === 0) return;
    const { cache } = this.#checkout;
    const lock = await lockFolder(await cache.lockDir(), undefined, 'fetching');
    try {
      const neededBytes = bytesOf(missing);
      const freeBytes = await freeBytesOf(cache.dir);
      if (freeBytes < neededBytes) {
        const problem = `${cache.dir} needs ${neededBytes} more bytes for the weights of ${this.spec}, and its disk has ${freeBytes} free`;
        throw new WeightsError(
          'disk-full',
          `${problem}; free some space, or choose another folder with HF_HOME. shoal serve and shoal pack need less: they drop each file when it is packed`,
        );
      }
      let doneBytes = 0;
      for (const file of missing) {
        await this.#checkout.fetch(file, (bytes) =>
          this.#onFetched({ doneBytes: (doneBytes += bytes), totalBytes: neededBytes }),
        );
      }
    } finally {
      await lock.release();
    }
  }

  #unlisted(name: string): never {
    throw new HubError('no-file', `${this.spec} has no ${name} in its top folder: is it a model for transformers?`);
  }
}

function bytesOf(files: readonly HubFile[]): number {
  return files.reduce((sum, { bytes }) => sum + bytes, 0);
}
