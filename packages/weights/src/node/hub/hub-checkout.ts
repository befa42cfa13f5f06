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
  /** Why nothing is fetched; undefined if the hub is asked for what is not in the cache. */
  readonly offline: string | undefined;
  /** By folder. */
  readonly #files = new Map<string | undefined, Promise<HubFile[] | undefined>>();

  private constructor(client: HubClient, cache: HubCache, commit: string, offline: string | undefined) {
    this.client = client;
    this.cache = cache;
    this.commit = commit;
    this.offline = offline;
  }

  /**
   * Finds the commit of the revision: by asking the hub, or where that may not or cannot be asked, what it was when it was last
   * asked; then nothing is fetched. A commit that is named needs no question. Throws HubError.
   */
  static async open(options: HubClientOptions): Promise<HubCheckout> {
    const { name, settings } = options;
    const client = new HubClient(options);
    const cache = new HubCache(settings.cacheDir, name);
    const forbidden = settings.offline ? FORBIDDEN : undefined;
    const known = await cache.readRef(name.revision);
    if (known === name.revision || (settings.offline && known)) return new HubCheckout(client, cache, known, forbidden);
    if (settings.offline) throw notCached(client, settings.cacheDir, FORBIDDEN);
    try {
      const commit = await findCommit(client);
      await cache.writeRef(name.revision, commit);
      return new HubCheckout(client, cache, commit, undefined);
    } catch (error) {
      const passes = error instanceof HubError && ['no-network', 'unavailable'].includes(error.reason);
      if (!passes || known === undefined) throw error;
      const problem = error.message.split(';')[0]!;
      client.onNotice(
        `${problem}, so ${name.repo}@${name.revision} is taken to be at ${known}, as before (--offline does so without asking)`,
      );
      return new HubCheckout(client, cache, known, problem);
    }
  }

  get label(): string {
    return `${this.client.name.repo}@${this.commit}`;
  }

  /** The directory of the cache with the files of this commit. */
  get dir(): string {
    return this.cache.snapshotDir(this.commit);
  }

  /** Names of the files, as the hub lists them, or those in the cache. */
  async names(): Promise<string[]> {
    return (await this.knownFiles())?.map(({ name }) => name) ?? this.cache.names(this.commit);
  }

  notCached(what: string, cause?: unknown): HubError {
    return notCached(this.client, this.cache.dir, this.offline ?? FORBIDDEN, what, cause);
  }

  /** The files that the hub lists. Throws HubError. */
  async files(): Promise<HubFile[]> {
    const files = await this.knownFiles();
    if (files) return files;
    throw this.notCached('');
  }

  /**
   * The files that the hub lists in a folder, by default the top one; undefined where it may not be asked and was not asked before.
   * A commit's never change.
   */
  async knownFiles(folder?: string): Promise<HubFile[] | undefined> {
    let files = this.#files.get(folder);
    if (!files) this.#files.set(folder, (files = this.#list(folder)));
    return files;
  }

  async #list(folder: string | undefined): Promise<HubFile[] | undefined> {
    const known = await this.cache.readListing(this.commit, folder);
    if (known || this.offline !== undefined) return known;
    const listed = await listCommit(this.client, this.commit, folder);
    await this.cache.writeListing(this.commit, listed, folder);
    return listed;
  }

  /** Fetches what is small: config, tokenizer, index. Returns the directory with these files. */
  async fetchSmallFiles(): Promise<string> {
    const listed = await this.knownFiles();
    if (!listed) {
      if ((await this.cache.find(this.commit, 'config.json')) === undefined) throw this.notCached('');
      return this.dir;
    }
    const small = listed.filter(({ name }) => isSmallFile(name));
    const tokenizer = small.find(({ name }) => name === 'tokenizer_config.json');
    if (tokenizer) await this.#fetchSmall(tokenizer);
    const tokenizerConfig = tokenizer && (await readJson(join(this.dir, tokenizer.name)).catch(() => undefined));
    const files = withoutOtherCode(small, tokenizerConfig);
    refuseTooMany(files, this.client.name.repo);
    // Last the config, which shows that what is read with it is there.
    files.sort((a, b) => Number(a.name === 'config.json') - Number(b.name === 'config.json'));
    for (const file of files) await this.#fetchSmall(file);
    return this.dir;
  }

  async #fetchSmall(file: HubFile): Promise<void> {
    const { name, bytes, digest } = file;
    if ((await this.cached(file)) !== undefined) return;
    if (this.offline !== undefined) throw this.notCached(name);
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

export function isSmallFile(name: string): boolean {
  return isCopied(name) || name === INDEX_FILE;
}

const FORBIDDEN = 'nothing may be fetched (--offline, or HF_HUB_OFFLINE)';

function notCached({ name, endpoint }: HubClient, cacheDir: string, why: string, what = '', cause?: unknown): HubError {
  const problem = `${what && `${what} of `}${name.repo}@${name.revision} cannot be found in the cache of the hub's files (${cacheDir}), and ${why}`;
  return new HubError('offline', `${problem}; run once with a connection to ${endpoint}`, { cause });
}
