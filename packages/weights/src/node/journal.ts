import { open, readFile, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { sha256Schema } from '../manifest.ts';
import { asWriteError } from './files.ts';

export const JOURNAL_FILE = 'pack-journal.jsonl';

const entrySchema = z.object({
  /** Key of a finished job. */
  job: z.string().max(250),
  sha256: sha256Schema,
  errors: z
    .array(z.object({ kind: z.string(), error: z.number(), norm: z.number(), values: z.number() }))
    .max(16)
    .optional(),
});
export type JournalEntry = z.infer<typeof entrySchema>;

/**
 * The jobs that a packer has finished, one per line, so that it can resume after being killed. The first line identifies the
 * run (checkpoint, shape, versions); the journal of another run is overwritten.
 */
export interface Journal {
  readonly finished: readonly JournalEntry[];
  append(entry: JournalEntry): Promise<void>;
  close(): Promise<void>;
}

export async function openJournal(dir: string, run: string): Promise<Journal> {
  const path = join(dir, JOURNAL_FILE);
  const finished = await readJournal(path, run);
  let file: FileHandle;
  try {
    // Rewritten, so that the next line does not continue one that was cut off.
    file = await open(path, 'w');
    await file.appendFile(`${[run, ...finished.map((entry) => JSON.stringify(entry))].join('\n')}\n`);
  } catch (error) {
    throw asWriteError(error, path);
  }
  return {
    finished,
    append: async (entry) => {
      try {
        await file.appendFile(`${JSON.stringify(entry)}\n`);
      } catch (error) {
        throw asWriteError(error, path);
      }
    },
    close: () => file.close(),
  };
}

async function readJournal(path: string, run: string): Promise<JournalEntry[]> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  const [head, ...lines] = text.split('\n');
  if (head !== run) return [];
  return lines.map(parseEntry).filter((entry) => entry !== undefined);
}

/** Returns undefined for a line that was cut off, whose job is then repeated. */
function parseEntry(line: string): JournalEntry | undefined {
  try {
    return entrySchema.parse(JSON.parse(line));
  } catch {
    return undefined;
  }
}
