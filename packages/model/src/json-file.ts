import { readFile, stat } from 'node:fs/promises';
import { messageOf, ModelError } from './errors.ts';

/** config.json, tokenizer.json and an index are read whole; the largest published one (a 150k-token tokenizer) is 20 MB. */
const MAX_TEXT_BYTES = 64 * 1024 * 1024;

/** A JSON file that was read, and not parsed yet. */
export interface JsonText {
  path: string;
  text: string;
}

/** Reads a JSON file of bounded size. Throws a ModelError naming the path. */
export async function readJson(path: string): Promise<unknown> {
  return parseJson(await readJsonText(path));
}

/** Reads a file of bounded size. Throws a ModelError naming the path. */
export async function readJsonText(path: string): Promise<JsonText> {
  return { path, text: await readText(path) };
}

/** Reads a text file of bounded size, without its byte-order mark. Throws a ModelError naming the path. */
export async function readText(path: string): Promise<string> {
  let bytes: Buffer;
  try {
    const { size } = await stat(path);
    if (size > MAX_TEXT_BYTES)
      throw new ModelError('bad-json', undefined, `${path}: ${size} bytes, more than the ${MAX_TEXT_BYTES} read`);
    bytes = await readFile(path);
  } catch (cause) {
    if (cause instanceof ModelError) throw cause;
    throw new ModelError('not-found', undefined, `${path}: cannot be read (${messageOf(cause)})`, { cause });
  }
  return decodeText(bytes, path);
}

/** Reads a file as `readText` does; undefined if there is none. */
export async function readTextIfPresent(path: string): Promise<string | undefined> {
  try {
    return await readText(path);
  } catch (error) {
    const { cause } = error as { cause?: NodeJS.ErrnoException };
    if (cause?.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Parses JSON as Python writes it, where numbers may be NaN and Infinity. Throws a ModelError naming the path. */
export function parseJson({ path, text }: JsonText): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const json = /\b(NaN|Infinity)\b/.test(text) ? parsePythonJson(text) : undefined;
    if (json !== undefined) return json;
    throw new ModelError('bad-json', undefined, `${path}: not valid JSON (${messageOf(cause)})`, { cause });
  }
}

/** A file's text without its byte-order mark. Files of Windows' older programs, such as PowerShell's `>`, are UTF-16. */
export function decodeText(bytes: Uint8Array, path: string): string {
  const isUtf16 = bytes.length >= 2 && [0xfffe, 0xfeff].includes((bytes[0]! << 8) | bytes[1]!);
  try {
    // It leaves the byte-order mark out.
    if (!isUtf16) return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    // Told below.
  }
  const encoding = isUtf16 ? 'is UTF-16' : 'is not valid UTF-8';
  throw new ModelError('bad-json', undefined, `${path}: ${encoding}: save it as UTF-8`);
}

const NAN = '\0NaN';

function parsePythonJson(text: string): unknown {
  try {
    // What is inside a string stays: each alternative begins where the one before it ended. A string that is not closed goes on to
    // the end, or it would be looked for again from each quote in it. Matching may take more memory than there is for it.
    const json = text.replace(/"(?:[^"\\]|\\(?:.|$))*(?:"|$)|-?\bInfinity\b|\bNaN\b/gs, (part) => {
      if (part.startsWith('"')) return part;
      if (part === 'NaN') return JSON.stringify(NAN);
      return part.startsWith('-') ? '-1e999' : '1e999';
    });
    return JSON.parse(json, (_, value: unknown) => (value === NAN ? Number.NaN : value));
  } catch {
    return undefined;
  }
}
