import { WeightsError } from '../../errors.ts';
import type { OpenSourceOptions } from '../source/open-source.ts';
import { HubCheckout } from './hub-checkout.ts';
import { HubError } from './hub-error.ts';
import { parseHubName, PLAIN_PATH } from './hub-name.ts';
import { readHubSettings } from './hub-settings.ts';

/** A file of a repository, in its top folder or in a folder of that. */
export interface WantedFile {
  /** The names that it may have; the first that is there is taken. */
  names: readonly string[];
  maxBytes: number;
  /** Whether the repository may have none of them. */
  isOptional?: boolean;
}

/**
 * Fetches files of a repository ORG/NAME[@REVISION] of a hub into its cache, and those that `more` names when the first are there.
 * Returns their directory. Throws HubError.
 */
export async function fetchHubFiles(
  name: string,
  files: readonly WantedFile[],
  { env, offline, signal, onNotice, patience }: OpenSourceOptions = {},
  more: (dir: string) => Promise<readonly WantedFile[]> = () => Promise.resolve([]),
): Promise<string> {
  const settings = await readHubSettings(env, offline);
  const checkout = await HubCheckout.open({ settings, name: parseHubName(name), signal, onNotice, patience });
  for (const file of files) await fetchOne(checkout, file);
  for (const file of await more(checkout.dir)) await fetchOne(checkout, file);
  return checkout.dir;
}

async function fetchOne(checkout: HubCheckout, { names, maxBytes, isOptional }: WantedFile): Promise<void> {
  for (const name of names) {
    if (!PLAIN_PATH.test(name)) continue;
    const folder = name.includes('/') ? name.split('/')[0] : undefined;
    const listed = await filesIn(checkout, folder);
    if (!listed) {
      if ((await checkout.cache.find(checkout.commit, name)) !== undefined) return;
      continue;
    }
    const file = listed.find((one) => one.name === name);
    if (!file) continue;
    if (file.bytes > maxBytes) {
      const problem = `${name} of ${checkout.label} has ${file.bytes} bytes, more than ${maxBytes}`;
      throw new WeightsError('bad-model', problem);
    }
    await checkout.fetch(file);
    return;
  }
  if (isOptional) return;
  if (!(await checkout.knownFiles())) throw checkout.notCached(names[0]!);
  throw new WeightsError('bad-model', `${checkout.label} has no ${names.join(' and no ')}`);
}

/** None where the hub has no such folder. */
async function filesIn(checkout: HubCheckout, folder: string | undefined) {
  try {
    return await checkout.knownFiles(folder);
  } catch (error) {
    if (folder !== undefined && error instanceof HubError && error.reason === 'no-file') return [];
    throw error;
  }
}
