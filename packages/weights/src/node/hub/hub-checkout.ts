import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { readJson } from '@shoal/model/node';
import { WeightsError } from '../../errors.ts';
import { isCopied, MAX_MODEL_FILE_BYTES, refuseTooMany, withoutOtherCode } from '../model-files.ts';
import { throwIfStopped } from './backoff.ts';
import { downloadFile, startHash } from './download-file.ts';
import { fetchBytes } from './file-header.ts';
import { HubCache } from './hub-cache.ts';
import { HubClient, type HubClientOptions } from './hub-client.ts';
import { HubError } from './hub-error.ts';
import { type HubFile, findCommit, listCommit } from './hub-repo.ts';

/** Everything small that is fetched of a model, besides what is copied with the packed one. */
export const INDEX_FILE = 'model.safetensors.index.json';

/** A commit of a hub's model: its files, of which some are in the cache. */
export class HubCheckout {
  readonly client: HubClient;
  readonly cache: HubCache;
  readonly commit: string;
  readonly #offline: boolean;
  #files: Promise<HubFile[]> | undefined;

  private constructor(client: HubClient, cache: HubCache, commit: string, offline: boolean) {
    this.client = client;
    this.cache = cache;
    this.commit = commit;
    this.#offline = offline;
  }

  /**
   * Finds the commit of the revision: by asking the hub, or where that may not or cannot be asked, what it was when it was last
   * asked. A commit that is named needs no question. Throws HubError.
   */
  static async open(options: HubClientOptions): Promise<HubCheckout> {
    const { name, settings } = options;
    const client = new HubClient(options);
    const cache = new HubCache(settings.cacheDir, name);
    const known = await cache.readRef(name.revision);
    if (known === name.revision || (settings.offline && known))
      return new HubCheckout(client, cache, known, settings.offline);
    if (settings.offline) throw notCached(client, settings.cacheDir);
    try {
      const commit = await findCommit(client);
      await cache.writeRef(name.revision, commit);
      return new HubCheckout(client, cache, commit, false);
    } catch (error) {
      const passes = error instanceof HubError && ['no-network', 'unavailable'].includes(error.reason);
      if (!passes || known === undefined) throw error;
      client.onNotice(
        `${error.message.split(';')[0]}, so ${name.repo}@${name.revision} is taken to be at ${known}, as before`,
      );
      return new HubCheckout(client, cache, known, false);
    }
  }

  get label(): string {
    return `${this.client.name.repo}@${this.commit}`;
  }

  /** The directory of the cache with the files of this commit. */
  get dir(): string {
    return this.cache.snapshotDir(this.commit);
  }

  /** Names of the files, as the hub lists them, or offline those in the cache. */
  async names(): Promise<string[]> {
    return this.#offline ? this.cache.names(this.commit) : (await this.files()).map(({ name }) => name);
  }

  notCached(what: string, cause?: unknown): HubError {
    return notCached(this.client, this.cache.dir, what, cause);
  }

  /** The files that the hub lists. */
  async files(): Promise<HubFile[]> {
    if (this.#offline) throw notCached(this.client, this.cache.dir);
    this.#files ??= listCommit(this.client, this.commit);
    return this.#files;
  }

  /** Fetches what is small: config, tokenizer, index. Returns the directory with these files. */
  async fetchSmallFiles(): Promise<string> {
    if (this.#offline) {
      if ((await this.cache.find(this.commit, 'config.json')) === undefined)
        throw notCached(this.client, this.cache.dir);
      return this.dir;
    }
    const listed = (await this.files()).filter(({ name }) => isCopied(name) || name === INDEX_FILE);
    const tokenizer = listed.find(({ name }) => name === 'tokenizer_config.json');
    if (tokenizer) await this.#fetchSmall(tokenizer);
    const tokenizerConfig = tokenizer && (await readJson(join(this.dir, tokenizer.name)).catch(() => undefined));
    const files = withoutOtherCode(listed, tokenizerConfig);
    refuseTooMany(files, this.client.name.repo);
    // Last the config, which shows that what is read with it is there.
    files.sort((a, b) => Number(a.name === 'config.json') - Number(b.name === 'config.json'));
    for (const file of files) await this.#fetchSmall(file);
    return this.dir;
  }

  async #fetchSmall(file: HubFile): Promise<void> {
    const { name, bytes, digest } = file;
    if ((await this.cache.find(this.commit, name, bytes)) !== undefined) return;
    if (bytes > MAX_MODEL_FILE_BYTES) {
      throw new WeightsError(
        'bad-model',
        `${name} of ${this.client.name.repo} has ${bytes} bytes, more than the limit of ${MAX_MODEL_FILE_BYTES}`,
      );
    }
    for (let wrong = 0; wrong < 2; wrong++) {
      const content =
        bytes === 0 ? new Uint8Array(0) : await fetchBytes(this.client, { commit: this.commit, file }, 0, bytes);
      if (startHash(file).update(content).digest('hex') !== digest.hex) continue;
      await this.cache.add(this.commit, name, digest.hex, content);
      return;
    }
    throw new HubError(
      'wrong-hash',
      `${name} of ${this.client.name.repo} is not what ${this.client.endpoint} lists (${digest.kind} ${digest.hex}): run again later`,
    );
  }

  /** Where a file is in the cache, if it is there whole: as a file of this commit, or as a blob that another commit shares. */
  async cached({ name, bytes, digest }: HubFile): Promise<string | undefined> {
    const found = await this.cache.find(this.commit, name, bytes);
    if (found !== undefined) return found;
    return (await this.cache.hasBlob(digest.hex, bytes)) ? this.cache.link(this.commit, name, digest.hex) : undefined;
  }

  /** Fetches a file into the cache, unless it is there. Returns its path. */
  async fetch(file: HubFile, onBytes?: (bytes: number) => void): Promise<string> {
    throwIfStopped(this.client.signal);
    const present = await this.cached(file);
    if (present !== undefined) {
      onBytes?.(file.bytes);
      return present;
    }
    const path = await this.cache.partOf(file.digest.hex);
    await downloadFile(this.client, { commit: this.commit, file, path, onBytes });
    await rename(path, this.cache.blobPath(file.digest.hex));
    return this.cache.link(this.commit, file.name, file.digest.hex);
  }
}

function notCached({ name, endpoint }: HubClient, cacheDir: string, what = '', cause?: unknown): HubError {
  const problem = `${what && `${what} of `}${name.repo}@${name.revision} cannot be found in the cache of the hub's files (${cacheDir}), and nothing may be fetched (--offline, or HF_HUB_OFFLINE)`;
  return new HubError('offline', `${problem}; run once with a connection to ${endpoint}`, { cause });
}
