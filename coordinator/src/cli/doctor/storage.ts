import { access, constants, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { formatBytes } from '../progress.ts';
import { failed, type Finding, ok, warning } from './finding.ts';

export interface Folder {
  dir: string;
  /** What is kept there, and the option that chooses another. */
  keeps: string;
  flag: string;
  /** What will be written, as far as it is known. */
  neededBytes: number;
}

/** What the checks ask of the system. */
export interface Disk {
  /** Rejects with ENOENT, or with what keeps this user from writing. */
  mayWrite: (dir: string) => Promise<void>;
  freeBytes: (dir: string) => Promise<number>;
}

const SYSTEM: Disk = {
  mayWrite: (dir) => access(dir, constants.W_OK | constants.X_OK),
  freeBytes: async (dir) => {
    const { bavail, bsize } = await statfs(dir);
    return bavail * bsize;
  },
};

/** Room that should be left beside what is known: logs, other programs. */
const SPARE_BYTES = 256 * 2 ** 20;

/** Whether a folder, or the one that it will be made in, can be written, and has room. */
export async function checkFolder({ dir, keeps, flag, neededBytes }: Folder, disk = SYSTEM): Promise<Finding> {
  const other = `Choose another directory by ${flag} DIR, or give this user the right to write there.`;
  let existing = dir;
  for (;;) {
    try {
      await disk.mayWrite(existing);
      break;
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code !== 'ENOENT' || dirname(existing) === existing)
        return failed(`${keeps} cannot be kept in ${dir}: ${message}`, other);
      existing = dirname(existing);
    }
  }
  const free = await disk.freeBytes(existing);
  const text = `${keeps} in ${dir}: ${formatBytes(free)} free, ${neededBytes === 0 ? 'nothing more is needed' : `${formatBytes(neededBytes)} needed`}`;
  const room = `Free some, or choose another directory by ${flag} DIR.`;
  if (free < neededBytes) return failed(text, room);
  return free < neededBytes + SPARE_BYTES ? warning(text, room) : ok(text);
}
