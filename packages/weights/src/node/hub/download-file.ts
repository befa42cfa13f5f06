import { createHash, type Hash } from 'node:crypto';
import { open, rm, stat } from 'node:fs/promises';
import { WeightsError } from '../../errors.ts';
import { Backoff, throwIfStopped } from './backoff.ts';
import { openBody } from './file-body.ts';
import type { HubClient } from './hub-client.ts';
import { HubError, PassingError } from './hub-error.ts';
import type { HubFile } from './hub-repo.ts';

/** Read and hashed at a time. */
const READ_BYTES = 4 * 1024 * 1024;
/** A server that sends less than this before it breaks off makes no progress. */
const PROGRESS_BYTES = 64 * 1024;

export interface WantedFile {
  commit: string;
  file: HubFile;
  /** Where it grows, and stays until it is complete. */
  path: string;
  /** Called with the bytes that have come, and with a negative number where some were thrown away. */
  onBytes?: ((bytes: number) => void) | undefined;
}

/**
 * Fetches a file into `path`, going on where an earlier run stopped. When it resolves, the file is on the disk, has its size, and
 * its bytes have the hash that the hub lists. A wrong hash has the file fetched once more from its beginning. Throws HubError, or
 * WeightsError `disk-full`, `unwritable` or `aborted`.
 */
export async function downloadFile(client: HubClient, wanted: WantedFile): Promise<void> {
  const { file, path, onBytes = () => {} } = wanted;
  for (let wrong = 0; ; wrong++) {
    if (await fetchOnce(client, wanted)) return;
    await rm(path, { force: true });
    onBytes(-file.bytes);
    const problem = `${file.name} of ${client.name.repo} has another SHA-256 than ${client.endpoint} lists`;
    if (wrong > 0) {
      throw new HubError(
        'wrong-hash',
        `${problem}, twice; something between here and the hub changes it, or the hub is damaged: nothing of it was used. Run again later`,
      );
    }
    client.onNotice(`${problem}: fetching it again`);
  }
}

/** Whether the complete file has the right hash. */
async function fetchOnce(client: HubClient, { commit, file, path, onBytes = () => {} }: WantedFile): Promise<boolean> {
  const hash = startHash(file);
  let done = await hashPresent(path, file.bytes, hash);
  onBytes(done);
  const backoff = new Backoff(client.patience, client.patience.fileTries, client);
  const target = await open(path, 'a').catch((error: unknown) => {
    throw asDiskError(error, path);
  });
  try {
    while (done < file.bytes) {
      const before = done;
      try {
        for await (const piece of await openBody(client, { commit, file }, done)) {
          throwIfStopped(client.signal);
          if (done + piece.byteLength > file.bytes) {
            throw new HubError('bad-answer', `${file.name} is longer than the ${file.bytes} bytes that the hub lists`);
          }
          await target.appendFile(piece).catch((error: unknown) => {
            throw asDiskError(error, path);
          });
          hash.update(piece);
          done += piece.byteLength;
          onBytes(piece.byteLength);
        }
        if (done < file.bytes)
          throw new PassingError('no-network', `${file.name} breaks off after ${done} of ${file.bytes} bytes`);
      } catch (error) {
        if (done - before >= Math.min(PROGRESS_BYTES, file.bytes - before)) backoff.reset();
        await backoff.wait(error);
      }
    }
    await target.sync();
  } finally {
    await target.close();
  }
  return hash.digest('hex') === file.digest.hex;
}

/** The hash that a file's digest is of: git puts the size before the bytes. */
export function startHash({ bytes, digest }: Pick<HubFile, 'bytes' | 'digest'>): Hash {
  if (digest.kind === 'sha256') return createHash('sha256');
  return createHash(digest.hex.length === 40 ? 'sha1' : 'sha256').update(`blob ${bytes}\0`);
}

/** Hashes what an earlier run has left, and returns how much that is. What is too long is not of this file. */
async function hashPresent(path: string, maxBytes: number, hash: Hash): Promise<number> {
  const size = (await stat(path).catch(() => undefined))?.size ?? 0;
  if (size === 0) return 0;
  if (size > maxBytes) {
    await rm(path, { force: true });
    return 0;
  }
  const file = await open(path, 'r');
  try {
    const buffer = new Uint8Array(READ_BYTES);
    let done = 0;
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, buffer.byteLength, done);
      if (bytesRead === 0) return done;
      hash.update(buffer.subarray(0, bytesRead));
      done += bytesRead;
    }
  } finally {
    await file.close();
  }
}

function asDiskError(error: unknown, path: string): unknown {
  const { code = '' } = error as NodeJS.ErrnoException;
  if (code !== 'ENOSPC' && code !== 'EDQUOT') return error;
  const remedy = 'free some space, or choose another folder, and run again: what is fetched is kept';
  return new WeightsError('disk-full', `the disk is full, writing ${path}; ${remedy}`, { cause: error });
}
