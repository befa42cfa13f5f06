import { open } from 'node:fs/promises';
import { CheckpointError, PREFIX_BYTES, readHeaderLength } from '@shoal/model';
import { readFully } from '@shoal/model/node';
import { openBody } from './file-body.ts';
import type { HubClient } from './hub-client.ts';
import { PassingError } from './hub-error.ts';
import type { HubFile } from './hub-repo.ts';

/** Most headers are shorter, so that one request is enough. */
const FIRST_BYTES = 256 * 1024;

/** Of all headers of a model: those of Kimi-K2's 61 files have 10 MB. */
const MAX_ALL_HEADERS = 256 * 1024 * 1024;

/** Adds up the headers of a model's files. Throws CheckpointError `header-too-large`. */
export class HeaderSum {
  #bytes = 0;

  add(header: Uint8Array, name: string): void {
    this.#bytes += header.byteLength;
    if (this.#bytes <= MAX_ALL_HEADERS) return;
    const problem = `makes the headers of all files together larger than ${MAX_ALL_HEADERS} bytes`;
    throw new CheckpointError('header-too-large', name, undefined, problem);
  }
}

/** The first bytes of a safetensors file on a hub: prefix and header. Throws HubError, or CheckpointError for a bad length. */
export async function fetchHeader(client: HubClient, commit: string, file: HubFile): Promise<Uint8Array> {
  const first = await fetchBytes(client, { commit, file }, 0, Math.min(FIRST_BYTES, file.bytes));
  const end = PREFIX_BYTES + readHeaderLength(first.subarray(0, PREFIX_BYTES), file.bytes, file.name);
  return end <= first.byteLength ? first.subarray(0, end) : fetchBytes(client, { commit, file }, 0, end);
}

/** The same of a file on this machine. */
export async function readHeaderOf(path: string, fileBytes: number, name: string): Promise<Uint8Array> {
  const file = await open(path, 'r');
  try {
    const prefix = new Uint8Array(Math.min(PREFIX_BYTES, fileBytes));
    await readFully(file, prefix, 0);
    const header = new Uint8Array(PREFIX_BYTES + readHeaderLength(prefix, fileBytes, name));
    await readFully(file, header, 0);
    return header;
  } finally {
    await file.close();
  }
}

/** Some bytes of a file, in memory. */
export async function fetchBytes(
  client: HubClient,
  wanted: { commit: string; file: HubFile },
  start: number,
  end: number,
): Promise<Uint8Array> {
  return client.retry(async () => {
    const pieces: Uint8Array[] = [];
    let bytes = 0;
    for await (const piece of await openBody(client, wanted, start, end)) {
      pieces.push(piece);
      bytes += piece.byteLength;
    }
    if (bytes === end - start) return Buffer.concat(pieces);
    throw new PassingError('no-network', `${wanted.file.name} breaks off after ${bytes} of ${end - start} bytes`);
  });
}
