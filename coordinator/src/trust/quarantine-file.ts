import { access, constants, readFile, rename, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { WeightsError } from '@shoal/weights';
import { makeFolder, writeWhole } from '@shoal/weights/node';
import { z } from 'zod';
import { type KeptEntry, MAX_ENTRIES, type Quarantine } from './quarantine.ts';

/** To be raised when the meaning of the file changes. */
const FILE_VERSION = 1;
/** From a failure to its being written, together with those that follow meanwhile. */
const WRITE_DELAY_MS = 2_000;
/** All entries that are remembered take about half of this. */
const MAX_FILE_BYTES = 8 * 1024 * 1024;

const epochMs = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
const fileSchema = z.object({
  version: z.literal(FILE_VERSION),
  entries: z
    .array(
      z.object({
        key: z.string().regex(/^(donor|address) \S{1,100}$/),
        failures: z.number().min(0).max(10_000),
        at: epochMs,
        until: epochMs.nullable(),
      }),
    )
    .max(MAX_ENTRIES),
});

interface Parts {
  quarantine: Quarantine;
  /** Called with what cannot be read or written, and the remedy. */
  warn: (text: string) => void;
}

/**
 * Takes up the quarantines that a file has kept, and keeps those to come in it. A file that cannot be used is moved aside, and
 * one that cannot be written is reported: neither keeps the coordinator from starting.
 */
export async function keepQuarantines(path: string, { quarantine, warn }: Parts): Promise<{ close(): Promise<void> }> {
  quarantine.restore(await readKept(path, warn));
  const writer = new Writer(path, () => quarantine.kept(), warn);
  await writer.checkFolder();
  quarantine.onChange = () => writer.writeSoon();
  return writer;
}

async function readKept(path: string, warn: (text: string) => void): Promise<KeptEntry[]> {
  try {
    const { size } = await stat(path);
    if (size > MAX_FILE_BYTES) throw new RangeError(`it has ${size} bytes, more than ${MAX_FILE_BYTES}`);
    return fileSchema.parse(JSON.parse(await readFile(path, 'utf8'))).entries;
  } catch (error) {
    // Where there can be none, writing will say so.
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return [];
    const aside = `${path}.bad`;
    const moved = await rename(path, aside).then(
      () => `It was moved to ${aside}.`,
      (cause: Error) => `It could not be moved aside either (${cause.message}).`,
    );
    warn(`${path} keeps no quarantines that can be used: ${reasonOf(error)}. ${moved} Nobody is in quarantine now.`);
    return [];
  }
}

/** One line; zod lists every fault. */
function reasonOf(error: unknown): string {
  if (!(error instanceof z.ZodError)) return error instanceof Error ? error.message : String(error);
  const { path, message } = error.issues[0]!;
  return `${path.join('.') || 'its content'}: ${message}`;
}

/** Writes the file whole or not at all, one write at a time. */
class Writer {
  readonly #path: string;
  readonly #kept: () => KeptEntry[];
  readonly #warn: (text: string) => void;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();
  #failed = false;

  constructor(path: string, kept: () => KeptEntry[], warn: (text: string) => void) {
    this.#path = path;
    this.#kept = kept;
    this.#warn = warn;
  }

  /** Finds out at the start whether it can write, not when somebody is caught. */
  checkFolder(): Promise<void> {
    return this.#attempt(async (dir) => {
      await access(dir, constants.W_OK);
    });
  }

  writeSoon(): void {
    this.#timer ??= setTimeout(() => this.#write(), WRITE_DELAY_MS).unref();
  }

  /** Writes what is still to be written. */
  async close(): Promise<void> {
    if (this.#timer) this.#write();
    await this.#writing;
  }

  #write(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#writing = this.#writing.then(() => this.#writeNow());
  }

  #writeNow(): Promise<void> {
    const text = `${JSON.stringify({ version: FILE_VERSION, entries: this.#kept() })}\n`;
    // For its owner alone, since it holds addresses.
    return this.#attempt(() => writeWhole(this.#path, text, 0o600));
  }

  async #attempt(work: (dir: string) => Promise<void>): Promise<void> {
    try {
      const dir = dirname(this.#path);
      await makeFolder(dir);
      await work(dir);
      this.#failed = false;
    } catch (error) {
      // Once, until a write succeeds again.
      if (!this.#failed) {
        const why = reasonOf(error instanceof WeightsError ? error.cause : error);
        this.#warn(`Quarantines will not outlast a restart (${why}). Give a file that can be written: --state FILE.`);
      }
      this.#failed = true;
    }
  }
}
