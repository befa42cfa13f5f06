import { mkdir } from 'node:fs/promises';
import { lockFolder, type PackLock } from '@shoal/weights/node';
import { DatabaseError } from './database-error.ts';

/** Makes the directory of an embedded database if needed, and locks it: two processes in it would destroy it. Throws a DatabaseError. */
export async function lockDirectory(dir: string): Promise<PackLock> {
  try {
    // For its owner alone, since it holds addresses.
    await mkdir(dir, { recursive: true, mode: 0o700 });
    return await lockFolder(dir, undefined, (who) => {
      const text = `The database in ${dir} is in use by ${who}. End that process, choose another directory by --data DIR, or give both coordinators one server by --database postgres://…`;
      return new DatabaseError('in-use', text);
    });
  } catch (error) {
    if (error instanceof DatabaseError) throw error;
    const text = `The database cannot be kept in ${dir} (${(error as Error).message}). Choose a directory that can be written by --data DIR, or start with --database none, which keeps nothing.`;
    throw new DatabaseError('unwritable', text, { cause: error });
  }
}
