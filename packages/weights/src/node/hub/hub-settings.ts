import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { HubError } from './hub-error.ts';

/** Which hub, as whom, and where its files are kept. */
export interface HubSettings {
  /** Without a slash at its end. */
  endpoint: string;
  token: string | undefined;
  /** Where the token is from, for errors. */
  tokenFrom: string;
  /** The folder of all programs that fetch from the hub: a folder per repository, with blobs, refs and snapshots. */
  cacheDir: string;
  /** Whether nothing may be fetched. */
  offline: boolean;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Reads the variables that huggingface_hub reads, as it does. Throws HubError `bad-settings`. */
export async function readHubSettings(env: Environment = process.env, offline = false): Promise<HubSettings> {
  const home = expand(env['HF_HOME'] || join(env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'huggingface'));
  const cacheDir = expand(env['HF_HUB_CACHE'] || env['HUGGINGFACE_HUB_CACHE'] || join(home, 'hub'));
  return {
    endpoint: await readEndpoint(env),
    ...(await readToken(env, home)),
    cacheDir,
    offline: offline || isTrue(env['HF_HUB_OFFLINE']) || isTrue(env['TRANSFORMERS_OFFLINE']),
  };
}

function expand(path: string): string {
  return resolve(path.replace(/^~(?=\/|$)/, homedir()));
}

const isTrue = (value = ''): boolean => ['1', 'on', 'yes', 'true'].includes(value.toLowerCase());

async function readEndpoint({ HF_ENDPOINT: given }: Environment): Promise<string> {
  // The library is loaded only where a hub is asked.
  if (!given) return (await import('@huggingface/hub')).HUB_URL;
  const url = URL.canParse(given) ? new URL(given) : undefined;
  if (!url || !['http:', 'https:'].includes(url.protocol) || url.username || url.search || url.hash) {
    throw new HubError(
      'bad-settings',
      `HF_ENDPOINT is ${JSON.stringify(given)}; give an address like https://hub.example.org`,
    );
  }
  return given.replace(/\/+$/, '');
}

async function readToken(env: Environment, home: string): Promise<{ token: string | undefined; tokenFrom: string }> {
  for (const name of ['HF_TOKEN', 'HUGGING_FACE_HUB_TOKEN']) {
    if (env[name]?.trim()) return { token: checked(env[name], name), tokenFrom: name };
  }
  const path = expand(env['HF_TOKEN_PATH'] || join(home, 'token'));
  // Most people have none.
  const text = await readFile(path, 'utf8').catch(() => '');
  return { token: text.trim() === '' ? undefined : checked(text, path), tokenFrom: path };
}

/** The token is not quoted. */
function checked(text: string, from: string): string {
  const token = text.trim();
  if (/^[\x21-\x7e]{1,4096}$/.test(token)) return token;
  throw new HubError(
    'bad-settings',
    `${from} does not hold a token: it has spaces, line breaks or other characters inside`,
  );
}
