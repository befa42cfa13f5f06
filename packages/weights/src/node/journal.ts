import { open, readFile, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { sha256Schema } from '../manifest.ts';
import { asDiskFull } from './files.ts';

export const JOURNAL_FILE = 'pack-journal.jsonl';

const entrySchema = z.object({
  /** `jobKey` of what is finished. */
  job: z.string().max(250),
  sha256: sha256Schema,
  errors: z
    .array(z.object({ kind: z.string(), error: z.number(), norm: z.number(), values: z.number() }))
    .max(16)
    .optional(),
});
export type JournalEntry = z.infer<typeof entrySchema>;

/**
 * What a packer has finished, a line per job, so that a killed one goes on where it was. The first line names the job
 * (checkpoint, shape, versions): a journal of another job is worth nothing and is overwritten.
 */
export interface Journal {
  readonly finished: readonly JournalEntry[];
  append(entry: JournalEntry): Promise<void>;
  close(): Promise<void>;
}

export async function openJournal(dir: string, job: string): Promise<Journal> {
  const path = join(dir, JOURNAL_FILE);
  const finished = await readJournal(path, job);
  let file: FileHandle;
  try {
    // Written anew, so that a line cut off by a kill does not swallow the next one.
    file = await open(path, 'w');
    await file.appendFile(`${[job, ...finished.map((entry) => JSON.stringify(entry))].join('\n')}\n`);
  } catch (error) {
    throw asDiskFull(error, path);
  }
  return {
    finished,
    append: async (entry) => {
      try {
        await file.appendFile(`${JSON.stringify(entry)}\n`);
      } catch (error) {
        throw asDiskFull(error, path);
      }
    },
    close: () => file.close(),
  };
}

async function readJournal(path: string, job: string): Promise<JournalEntry[]> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  const [head, ...lines] = text.split('\n');
  if (head !== job) return [];
  const entries: JournalEntry[] = [];
  for (const line of lines) {
    const entry = parseEntry(line);
    if (entry) entries.push(entry);
  }
  return entries;
}

/** undefined for a line that a kill cut off: that job is done again. */
function parseEntry(line: string): JournalEntry | undefined {
  try {
    return entrySchema.parse(JSON.parse(line));
  } catch {
    return undefined;
  }
}
