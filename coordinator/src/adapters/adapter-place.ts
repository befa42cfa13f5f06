import { realpath, stat } from 'node:fs/promises';
import { resolve, sep } from 'node:path';
import { AdapterError, messageOf } from '@shoal/model';
import { ADAPTER_CONFIG_FILE, otherAdapterFiles } from '@shoal/model/node';
import { fetchHubFiles, looksLikeHubName, type OpenSourceOptions } from '@shoal/weights/node';
import { ABOUT_FILE } from './adapter-about.ts';

/** Far above adapter_config.json and any adapter of rank 256. */
const MAX_FILE_BYTES = 16 * 2 ** 30;
/** Above the largest that is read, with escapes. */
const MAX_ABOUT_BYTES = 2 ** 20;

/** The folder of an adapter that the operator has named at the start: a directory, or one of a hub, which is fetched. */
export async function adapterDir(source: string, options: OpenSourceOptions): Promise<string> {
  const path = resolve(source);
  if ((await stat(path).catch(() => undefined))?.isDirectory()) return path;
  if (looksLikeHubName(source)) {
    const wanted = (names: readonly string[]) => ({ names, maxBytes: MAX_FILE_BYTES });
    const others = async (dir: string) => (await otherAdapterFiles(dir)).map(wanted);
    const about = { names: [ABOUT_FILE], maxBytes: MAX_ABOUT_BYTES, isOptional: true };
    return fetchHubFiles(source, [wanted([ADAPTER_CONFIG_FILE]), about], options, others);
  }
  throw new AdapterError('unreadable', `there is no directory ${path}, and ${source} is no name on a hub (ORG/NAME)`);
}

/** A folder inside `root`, links resolved, of an adapter that is loaded at run time. Throws an AdapterError for any other. */
export async function adapterDirInside(root: string, path: string): Promise<string> {
  const outside = (): AdapterError => {
    return new AdapterError('unreadable', 'lora_path must be a folder inside the directory of --adapter-dir');
  };
  if (path.includes('\0')) throw outside();
  const top = await realpath(root).catch((cause: unknown) => {
    throw new AdapterError('unreadable', `the directory of --adapter-dir cannot be read: ${messageOf(cause)}`);
  });
  const found = await realpath(resolve(top, path)).catch(() => undefined);
  // One message, so that nothing outside can be found out.
  if (!found?.startsWith(top + sep) || !(await stat(found)).isDirectory()) throw outside();
  return found;
}
