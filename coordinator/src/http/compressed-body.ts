import { promisify } from 'node:util';
import zlib from 'node:zlib';
import { ApiError } from './errors.ts';

type Decompress = (body: Buffer, options: { maxOutputLength: number }) => Promise<Buffer>;

const inflate = promisify(zlib.inflate) as Decompress;
const inflateRaw = promisify(zlib.inflateRaw) as Decompress;
const gunzip = promisify(zlib.gunzip) as Decompress;

/** By the names of `Content-Encoding`. Each runs in Node's thread pool and stops at its bound. */
const DECOMPRESS: ReadonlyMap<string, Decompress> = new Map<string, Decompress>([
  ['gzip', gunzip],
  ['x-gzip', gunzip],
  // RFC 9110 means zlib's format; some clients send what is inside it.
  ['deflate', (body, options) => (isZlib(body) ? inflate : inflateRaw)(body, options)],
  ['br', promisify(zlib.brotliDecompress) as Decompress],
]);
const ACCEPTED = 'gzip, deflate, br';

/** A body as it was before its client compressed it. No more than `maxBytes` are ever decompressed. */
export async function decompressed(body: Buffer, encoding: string | undefined, maxBytes: number): Promise<Buffer> {
  const name = nameOf(encoding);
  if (name === undefined) return body;
  const decompress = DECOMPRESS.get(name);
  if (!decompress) throw unsupported();
  try {
    return await decompress(body, { maxOutputLength: maxBytes });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') throw ApiError.bodyTooLarge();
    throw ApiError.invalid(null, 'The request body is not what its Content-Encoding says.', 'invalid_encoding');
  }
}

function unsupported(): ApiError {
  return new ApiError(415, `Send the body uncompressed, or with one Content-Encoding of ${ACCEPTED}.`, {
    code: 'unsupported_encoding',
    headers: { 'accept-encoding': ACCEPTED },
  });
}

function nameOf(encoding: string | undefined): string | undefined {
  const name = encoding?.trim().toLowerCase();
  return name === '' || name === 'identity' ? undefined : name;
}

/** zlib's two bytes of header: method 8, and a checksum. */
function isZlib(body: Buffer): boolean {
  return body.length >= 2 && (body[0]! & 0x0f) === 8 && body.readUInt16BE(0) % 31 === 0;
}
