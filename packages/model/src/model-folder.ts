import { join } from 'node:path';
import { decodeText, type JsonText, readText, readTextIfPresent } from './json-file.ts';

/** A small file of a model's directory. */
export interface ModelFile {
  name: string;
  bytes: Uint8Array;
}

/** Where a model's small files are: in a directory, or in memory, where they were made of something else (`source`, for errors). */
export type ModelFolder = string | { source: string; files: readonly ModelFile[] };

/** A text file; undefined if there is none. Throws a ModelError naming the path. */
export async function textIn(folder: ModelFolder, name: string): Promise<JsonText | undefined> {
  const path = join(pathOf(folder), name);
  const text = typeof folder === 'string' ? await readTextIfPresent(path) : textOf(folder.files, name, path);
  return text === undefined ? undefined : { path, text };
}

/** A text file. Throws a ModelError naming the path. */
export async function requiredText(folder: ModelFolder, name: string): Promise<JsonText> {
  const found = await textIn(folder, name);
  if (found) return found;
  const path = join(pathOf(folder), name);
  return { path, text: await readText(path) };
}

const pathOf = (folder: ModelFolder): string => (typeof folder === 'string' ? folder : folder.source);

function textOf(files: readonly ModelFile[], name: string, path: string): string | undefined {
  const found = files.find((file) => file.name === name);
  return found && decodeText(found.bytes, path);
}
