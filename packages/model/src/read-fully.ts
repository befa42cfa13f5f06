import type { FileHandle } from 'node:fs/promises';

/** One read call at most. */
const MAX_READ_BYTES = 64 * 1024 * 1024;

/** Reads from `offset` until `target` is full or the file ends. Returns the number of bytes read. */
export async function readFully(file: FileHandle, target: Uint8Array, offset: number): Promise<number> {
  let done = 0;
  while (done < target.byteLength) {
    const length = Math.min(MAX_READ_BYTES, target.byteLength - done);
    const { bytesRead } = await file.read(target, done, length, offset + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}
