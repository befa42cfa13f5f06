import { WeightsError } from '../../errors.ts';
import type { OpenSourceOptions } from '../source/open-source.ts';
import { HubCheckout } from './hub-checkout.ts';
import { parseHubName } from './hub-name.ts';
import { readHubSettings } from './hub-settings.ts';

/**
 * Fetches files of a repository ORG/NAME[@REVISION] of a hub into its cache, those that are optional if it has them. Returns their
 * directory. Throws HubError.
 */
export async function fetchHubFiles(
  name: string,
  files: readonly { name: string; maxBytes: number; isOptional?: boolean }[],
  { env, offline, signal, onNotice, patience }: OpenSourceOptions = {},
): Promise<string> {
  const settings = await readHubSettings(env, offline);
  const checkout = await HubCheckout.open({ settings, name: parseHubName(name), signal, onNotice, patience });
  const listed = await checkout.knownFiles();
  for (const { name: wanted, maxBytes, isOptional } of files) {
    if (!listed) {
      if (!isOptional && (await checkout.cache.find(checkout.commit, wanted)) === undefined)
        throw checkout.notCached(wanted);
      continue;
    }
    const file = listed.find((one) => one.name === wanted);
    if (!file && isOptional) continue;
    if (!file) throw new WeightsError('bad-model', `${checkout.label} has no ${wanted} in its top folder`);
    if (file.bytes > maxBytes) {
      throw new WeightsError(
        'bad-model',
        `${wanted} of ${checkout.label} has ${file.bytes} bytes, more than ${maxBytes}`,
      );
    }
    await checkout.fetch(file);
  }
  return checkout.dir;
}
