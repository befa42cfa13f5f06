import { readFileSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';

/**
 * While a coordinator has an embedded database, no other process can open it. So it leaves its address and an operator's token of
 * its own in the database's directory, which only its owner can read, and which holds all that the token gives access to: with it
 * `npx shoal key` and its like go through the coordinator.
 */
const schema = z.object({ url: z.string().max(1024), token: z.string().max(256) });

export type Control = z.infer<typeof schema>;

const pathIn = (dir: string): string => join(dir, 'control.json');

/** Resolves with the call that takes it away again. */
export async function leaveControl(dir: string, control: Control): Promise<() => Promise<void>> {
  // Removed first, since the mode of a file that is there would stay.
  await rm(pathIn(dir), { force: true });
  await writeFile(pathIn(dir), JSON.stringify(control), { mode: 0o600, flag: 'wx' });
  return () => rm(pathIn(dir), { force: true });
}

/** What the coordinator left that has the database open; undefined if it left nothing. */
export function findControl(dir: string): Control | undefined {
  try {
    return schema.parse(JSON.parse(readFileSync(pathIn(dir), 'utf8')));
  } catch {
    return undefined;
  }
}
