import { randomBytes } from 'node:crypto';
import { copyFile, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { WeightsError } from '../../errors.ts';
import { makeFolder, writeWhole } from '../files.ts';
import { COMMIT, type HubName } from './hub-name.ts';
import { type HubFile, listingSchema } from './hub-repo.ts';

/**
 * A repository in the cache that programs for the hub share: `refs/REVISION` has the commit, `snapshots/COMMIT/FILE` links to
 * `blobs/DIGEST`. All names that lead to paths have been checked before (`parseHubName`, `COMMIT`, `PLAIN_PATH`).
 */
export class HubCache {
  readonly dir: string;

  constructor(cacheDir: string, { org, name }: HubName) {
    this.dir = join(cacheDir, `models--${org}--${name}`);
  }

  /** The commit that a revision was at when it was last asked for. */
  async readRef(revision: string): Promise<string | undefined> {
    if (COMMIT.test(revision)) return revision;
    const text = await readFile(join(this.dir, 'refs', revision), 'utf8').catch(() => '');
    return COMMIT.test(text.trim()) ? text.trim() : undefined;
  }

  async writeRef(revision: string, commit: string): Promise<void> {
    if (COMMIT.test(revision) || (await this.readRef(revision)) === commit) return;
    const path = join(this.dir, 'refs', revision);
    await this.#writing(path, async () => {
      const temp = `${path}.${randomBytes(6).toString('hex')}`;
      await writeFile(temp, commit);
      await rename(temp, path);
    });
  }

  /** The files of a commit's folder, by default the top one, as the hub has listed them, where that is known. */
  async readListing(commit: string, folder?: string): Promise<HubFile[] | undefined> {
    try {
      return listingSchema.parse(JSON.parse(await readFile(this.#listingPath(commit, folder), 'utf8')));
    } catch {
      // The hub is asked again.
      return undefined;
    }
  }

  async writeListing(commit: string, files: readonly HubFile[], folder?: string): Promise<void> {
    const path = this.#listingPath(commit, folder);
    await this.#writing(path, () => writeWhole(path, JSON.stringify(files)));
  }

  /** Other programs leave folders alone whose names they don't know. */
  #listingPath(commit: string, folder: string | undefined): string {
    return join(this.dir, 'shoal', folder === undefined ? `${commit}.json` : `${commit}-${folder}.json`);
  }

  snapshotDir(commit: string): string {
    return join(this.dir, 'snapshots', commit);
  }

  blobPath(digest: string): string {
    return join(this.dir, 'blobs', digest);
  }

  async hasBlob(digest: string, bytes: number): Promise<boolean> {
    const found = await stat(this.blobPath(digest)).catch(() => undefined);
    return found?.isFile() === true && found.size === bytes;
  }

  /** Where a blob grows. Other programs have another name for theirs. */
  async partOf(digest: string): Promise<string> {
    const path = `${this.blobPath(digest)}.shoal.incomplete`;
    await this.#writing(path, async () => {});
    return path;
  }

  /** The folder for locks of this repository, which is made if it is not there. */
  async lockDir(): Promise<string> {
    const dir = join(dirname(this.dir), '.locks', basename(this.dir));
    await this.#writing(join(dir, '_'), async () => {});
    return dir;
  }

  /** Names of the files of a commit that are there. */
  async names(commit: string): Promise<string[]> {
    return readdir(this.snapshotDir(commit)).catch(() => []);
  }

  /** The path of a file of a commit, if it is there with these many bytes. */
  async find(commit: string, file: string, bytes?: number): Promise<string | undefined> {
    const path = join(this.snapshotDir(commit), file);
    const found = await stat(path).catch(() => undefined);
    return found?.isFile() && (bytes === undefined || found.size === bytes) ? path : undefined;
  }

  /** Shows a blob that is complete as a file of a commit. Links are relative, so that the cache can be moved. */
  async link(commit: string, file: string, digest: string): Promise<string> {
    const path = join(this.snapshotDir(commit), file);
    const blob = this.blobPath(digest);
    await this.#writing(path, async () => {
      const temp = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}`);
      // Windows allows links only to some users.
      await symlink(relative(dirname(path), blob), temp).catch(() => copyFile(blob, temp));
      await rename(temp, path);
    });
    return path;
  }

  /** Writes a small file as a blob, and shows it as a file of a commit. */
  async add(commit: string, file: string, digest: string, bytes: Uint8Array): Promise<string> {
    const blob = this.blobPath(digest);
    await this.#writing(blob, async () => {
      const temp = `${blob}.${randomBytes(6).toString('hex')}.incomplete`;
      try {
        await writeFile(temp, bytes);
        await rename(temp, blob);
      } catch (error) {
        await rm(temp, { force: true }).catch(() => {});
        throw error;
      }
    });
    return this.link(commit, file, digest);
  }

  async #writing(path: string, work: () => Promise<void>): Promise<void> {
    try {
      await makeFolder(dirname(path));
      await work();
    } catch (cause) {
      const { code, reason } = cause as { code?: string; reason?: string };
      const full = code === 'ENOSPC' || code === 'EDQUOT' || reason === 'disk-full';
      const what = full ? 'its disk is full' : (cause as Error).message.split(';')[0];
      const remedy = full ? 'free some space' : 'let this user write there';
      const problem = `the cache of the hub's files, ${path}, cannot be written: ${what}; ${remedy}, or choose another folder with HF_HOME`;
      throw new WeightsError(full ? 'disk-full' : 'unwritable', problem, { cause });
    }
  }
}
