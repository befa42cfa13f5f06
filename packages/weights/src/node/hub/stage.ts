import { open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { parseHeader, PREFIX_BYTES } from '@shoal/model';
import { openDirectory, type OpenWeightFile, readFully, type SafetensorsCheckpoint } from '@shoal/model/node';
import { z } from 'zod';
import { WeightsError } from '../../errors.ts';
import { makeFolder, removeRemains, writeWhole } from '../files.ts';
import { HeaderSum, readHeaderOf } from './file-header.ts';
import { HubError } from './hub-error.ts';
import type { StoredBytes } from './stage-schedule.ts';

/** Folder in a packed model's folder for what is fetched while it is packed. */
export const STAGE_DIR = 'download';
const LIST_FILE = 'stage.json';
const HEADER_STREAMS = 8;
/** Copied at a time. */
const COPIED_BYTES = 4 * 1024 * 1024;

/** A file of weights whose body need not be here. */
export interface StagedFile {
  name: string;
  bytes: number;
  /** Where the whole file is, if it is on this machine and stays. */
  path?: string | undefined;
}

/** Ends when the signal says so, and may then fail in any way. */
export type FetchHeader = (file: StagedFile, signal: AbortSignal) => Promise<Uint8Array>;

const listSchema = z.object({
  commit: z.string(),
  /** Of the model (`ModelSource.fingerprint`), which other commits may have too. */
  fingerprint: z.string(),
  /** The directory with config.json and the index. */
  metaDir: z.string(),
  files: z.array(z.object({ name: z.string(), bytes: z.number(), path: z.string().optional() })),
});

/**
 * A folder with the headers of all files of a checkpoint, and the bodies of those that are being packed: `NAME.header`, `NAME.body`
 * (the whole file, checked), `NAME.OFFSET.tensor` (a tensor that is kept longer than its file).
 */
export class Stage {
  readonly dir: string;
  readonly commit: string;
  readonly fingerprint: string;
  readonly metaDir: string;
  readonly files: readonly StagedFile[];

  private constructor(dir: string, { commit, fingerprint, metaDir, files }: z.infer<typeof listSchema>) {
    this.fingerprint = fingerprint;
    this.dir = dir;
    this.commit = commit;
    this.metaDir = metaDir;
    this.files = files;
  }

  /**
   * Begins, or goes on with what an earlier run has fetched of the same model. `header` fetches the header of a file that is not here.
   * When this settles, nothing is fetched or written any more.
   */
  static async create(
    dir: string,
    list: { commit: string; fingerprint: string; metaDir: string; files: readonly StagedFile[] },
    header: FetchHeader,
  ): Promise<Stage> {
    const before = await Stage.open(dir).catch(() => undefined);
    if (before?.fingerprint !== list.fingerprint) await rm(dir, { recursive: true, force: true });
    await makeFolder(dir);
    await removeRemains(dir);
    await writeWhole(join(dir, LIST_FILE), JSON.stringify(list));
    const stage = await Stage.open(dir);
    await stage.#completeHeaders(header);
    return stage;
  }

  static async open(dir: string): Promise<Stage> {
    return new Stage(dir, listSchema.parse(JSON.parse(await readFile(join(dir, LIST_FILE), 'utf8'))));
  }

  async #completeHeaders(fetchHeader: FetchHeader): Promise<void> {
    const left = this.files.values();
    const sum = new HeaderSum();
    const stop = new AbortController();
    let failure: { error: unknown } | undefined;
    const work = async (): Promise<void> => {
      for (const file of left) {
        if (failure) return;
        sum.add(await this.#completeHeader(file, (one) => fetchHeader(one, stop.signal)), file.name);
      }
    };
    // Several at a time, since a large model has hundreds of files and a hub takes a while for each.
    const streams = Array.from({ length: HEADER_STREAMS }, () =>
      work().catch((error: unknown) => {
        failure ??= { error };
        stop.abort();
      }),
    );
    await Promise.all(streams);
    if (failure) throw failure.error;
  }

  /** Has the header of a file be here, and returns it. */
  async #completeHeader(file: StagedFile, fetch: (file: StagedFile) => Promise<Uint8Array>): Promise<Uint8Array> {
    const path = headerPath(this.dir, file.name);
    const present = await readFile(path).catch(() => undefined);
    const whole = file.path ?? ((await this.hasBody(file.name)) ? this.bodyPath(file.name) : undefined);
    // Nothing but the whole file shows that a header which came by itself is right.
    if (whole === undefined && present) return present;
    const wanted = whole === undefined ? await fetch(file) : await readHeaderOf(whole, file.bytes, file.name);
    if (!present?.equals(wanted)) await writeWhole(path, wanted);
    return wanted;
  }

  openCheckpoint(): Promise<SafetensorsCheckpoint> {
    return openDirectory(this.metaDir, this.#openFile);
  }

  bodyPath(file: string): string {
    return join(this.dir, `${file}.body`);
  }

  /** Where a body grows. The digest keeps that of another model apart. */
  partPath(file: string, digest: string): string {
    return join(this.dir, `${file}.${digest.slice(0, 16)}.part`);
  }

  keptPath({ file, offset }: Pick<StoredBytes, 'file' | 'offset'>): string {
    return join(this.dir, `${file}.${offset}.tensor`);
  }

  /** What earlier runs have kept and is whole. */
  async keptTensors(): Promise<(tensor: StoredBytes) => boolean> {
    const sizes = new Map<string, number>();
    for (const name of await readdir(this.dir)) {
      if (name.endsWith('.tensor')) sizes.set(join(this.dir, name), (await stat(join(this.dir, name))).size);
    }
    return (tensor) => sizes.get(this.keptPath(tensor)) === tensor.bytes;
  }

  async hasBody(file: string): Promise<boolean> {
    return (await stat(this.bodyPath(file)).catch(() => undefined)) !== undefined;
  }

  /**
   * Takes over a complete body with the right hash, which says nothing of the header that came before it. Where the body begins
   * otherwise, its own header is kept for the next run, since all plans were made by the other one: throws HubError `wrong-hash`.
   */
  async takeBody(file: StagedFile, part: string): Promise<void> {
    const path = headerPath(this.dir, file.name);
    const used = await readFile(path);
    const own = Buffer.alloc(used.byteLength);
    await readPart(part, 0, own, file.name);
    const isSame = own.equals(used);
    if (!isSame) await writeWhole(path, await readHeaderOf(part, file.bytes, file.name));
    await rename(part, this.bodyPath(file.name));
    if (isSame) return;
    throw new HubError(
      'wrong-hash',
      `${file.name} begins with another header than the hub gave when it was asked for that alone; something between here and the hub changes it, or the hub is damaged. Nothing was packed by it: run again, what is fetched is kept`,
    );
  }

  /** What lies here of a file's body. */
  async presentBytes(file: string, digest: string): Promise<number> {
    const sizes = [this.bodyPath(file), this.partPath(file, digest)].map((path) => stat(path).then(sizeOf, () => 0));
    return (await Promise.all(sizes)).reduce((sum, bytes) => sum + bytes, 0);
  }

  /** Removes all bodies and tensors but these. */
  async dropAllBut(paths: ReadonlySet<string>): Promise<void> {
    for (const name of await readdir(this.dir)) {
      const path = join(this.dir, name);
      if (/\.(part|body|tensor)$/.test(name) && !paths.has(path)) await this.drop(path);
    }
  }

  /** Copies a tensor out of a body that is there. Another thread may read it as soon as this resolves. */
  async keep(tensor: StoredBytes): Promise<void> {
    const { file, offset, bytes } = tensor;
    // A stack of experts may have tens of gigabytes.
    const piece = new Uint8Array(Math.min(bytes, COPIED_BYTES));
    await writeWhole(this.keptPath(tensor), async (target) => {
      for (let done = 0; done < bytes; done += piece.byteLength) {
        const part = piece.subarray(0, bytes - done);
        await readPart(this.bodyPath(file), offset + done, part, file);
        await target.appendFile(part);
      }
    });
  }

  async drop(path: string): Promise<void> {
    await rm(path, { force: true });
  }

  readonly #openFile: OpenWeightFile = async (name) => {
    const file = this.files.find((one) => one.name === name);
    if (!file) throw new WeightsError('bad-model', `${name} is named by the index, but the hub does not list it`);
    const header = await readFile(headerPath(this.dir, name));
    const table = parseHeader(header.subarray(PREFIX_BYTES), file.bytes, name);
    const offsets = Float64Array.from([...table.values()].map(({ offset }) => offset).sort((a, b) => a - b));
    return { name, table, read: (offset, target) => this.#read(file, offsets, offset, target), close: async () => {} };
  };

  /** Files are opened for each read: those that are dropped must not keep their room on the disk. */
  async #read({ name, path }: StagedFile, offsets: Float64Array, offset: number, target: Uint8Array): Promise<void> {
    if (path !== undefined) return readPart(path, offset, target, name);
    try {
      return await readPart(this.bodyPath(name), offset, target, name);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
    const start = offsets.findLast((one) => one <= offset) ?? 0;
    await readPart(this.keptPath({ file: name, offset: start }), offset - start, target, name);
  }
}

const sizeOf = ({ size }: { size: number }): number => size;
const headerPath = (dir: string, name: string): string => join(dir, `${name}.header`);

async function readPart(path: string, offset: number, target: Uint8Array, name: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    if ((await readFully(file, target, offset)) === target.byteLength) return;
    throw new WeightsError('unreadable', `${path} is shorter than ${name} has to be; delete it and run again`);
  } finally {
    await file.close();
  }
}
