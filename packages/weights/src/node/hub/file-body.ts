import { messageOf } from '@shoal/model';
import type { HubClient } from './hub-client.ts';
import { HubError, PassingError } from './hub-error.ts';
import type { HubFile } from './hub-repo.ts';

/** The hub's newer store sends a file in blocks of up to 64 MiB, compressed. */
const MAX_BLOCK_BYTES = 256 * 1024 * 1024;

/**
 * A file's bytes from `start` on, up to `end`: from the hub's newer store where the file is there, else by a request for the range.
 * A server that knows no ranges sends everything, of which the beginning is dropped. Rejects, or ends the stream, with PassingError
 * or HubError. The caller counts the bytes: there may be fewer.
 */
export async function openBody(
  client: HubClient,
  { commit, file }: { commit: string; file: HubFile },
  start: number,
  end = file.bytes,
): Promise<AsyncIterable<Uint8Array>> {
  if (start === end) return (async function* () {})();
  const whole = end === file.bytes;
  const stream = file.xet && whole ? await openXet(client, commit, file, start) : undefined;
  return stream ?? openRange(client, client.fileUrl(commit, file.name), { start, end, total: file.bytes });
}

/** Undefined where the hub does not offer the file in this way. */
async function openXet(
  client: HubClient,
  commit: string,
  { name: path, bytes }: HubFile,
  start: number,
): Promise<AsyncIterable<Uint8Array> | undefined> {
  const { downloadFile, fileDownloadInfo, InvalidApiResponseFormatError } = await import('@huggingface/hub');
  let failure: unknown;
  const limited = client.fetchUpTo(MAX_BLOCK_BYTES);
  // The library tells a failed stream by a text.
  const remembering: typeof fetch = (input, init) =>
    limited(input, init).catch((error: unknown) => {
      failure ??= error;
      throw error;
    });
  const params = { repo: client.name.repo, path, revision: commit, hubUrl: client.endpoint, fetch: remembering };
  const failed = (error: unknown): Error => {
    const known = [failure, error].find((one) => one instanceof HubError || one instanceof PassingError);
    return (
      (known as Error | undefined) ??
      new PassingError('unavailable', `${path} could not be read from the hub's store (${messageOf(error)})`, {
        cause: error,
      })
    );
  };
  try {
    const info = await fileDownloadInfo(params);
    if (!info?.xet) return undefined;
    if (info.size !== bytes)
      throw new HubError('bad-answer', `${path} is listed with ${bytes} bytes, but the hub's store has ${info.size}`);
    const blob = await downloadFile({ ...params, downloadInfo: info });
    const stream = blob!.slice(start).stream() as unknown as AsyncIterable<Uint8Array>;
    return (async function* () {
      try {
        yield* stream;
      } catch (error) {
        throw failed(error);
      }
    })();
  } catch (error) {
    if (error instanceof InvalidApiResponseFormatError) return undefined;
    throw failed(error);
  }
}

interface ByteRange {
  start: number;
  end: number;
  total: number;
}

async function openRange(client: HubClient, url: string, range: ByteRange): Promise<AsyncIterable<Uint8Array>> {
  const { start, end, total } = range;
  const headers = start === 0 && end === total ? {} : { range: `bytes=${start}-${end - 1}` };
  const response = await client.request(url, { headers }, total);
  const skip = requireRange(response, range);
  return slice(response.body as unknown as AsyncIterable<Uint8Array>, skip, end - start);
}

/** How many bytes come before those that were asked for. Throws HubError for others, and for an answer without any. */
function requireRange({ status, headers, body }: Response, { start, end, total }: ByteRange): number {
  if ((status !== 200 && status !== 206) || body === null) {
    throw new HubError('bad-answer', `the hub answers with status ${status} where bytes of a file were asked for`);
  }
  const said = headers.get('content-range') ?? '';
  if (status === 206) {
    if (said === `bytes ${start}-${end - 1}/${total}`) return 0;
    throw new HubError(
      'bad-answer',
      `the hub sends other bytes (${said || 'it does not say which'}) than ${start} to ${end - 1} of ${total}`,
    );
  }
  const length = headers.get('content-length');
  if (length === null || Number(length) === total) return start;
  throw new HubError('bad-answer', `the hub sends ${length} bytes of a file that it lists with ${total}`);
}

async function* slice(body: AsyncIterable<Uint8Array>, skip: number, length: number): AsyncGenerator<Uint8Array> {
  let toSkip = skip;
  let left = length;
  for await (const piece of body) {
    const rest = piece.subarray(Math.min(toSkip, piece.byteLength));
    toSkip -= piece.byteLength - rest.byteLength;
    if (rest.byteLength === 0) continue;
    yield rest.subarray(0, left);
    left -= Math.min(left, rest.byteLength);
    // Leaving the loop ends the request.
    if (left === 0) return;
  }
}
