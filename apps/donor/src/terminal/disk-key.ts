import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { proofText } from '@shoal/protocol';
import type { Prove } from '../contribution/browser-key.ts';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256' };
const SIGNATURE = { name: 'ECDSA', hash: 'SHA-256' };
const NAME_CHARS = 16;

/**
 * What `openBrowserKey` is for a browser: the key pair by which one coordinator knows this user of this machine again, made on the
 * first visit. Its private half is a file in `dir` that only this user may read.
 */
export async function openDiskKey(dir: string, coordinator: URL): Promise<Prove> {
  const name = createHash('sha256').update(coordinator.href).digest('hex').slice(0, NAME_CHARS);
  const { publicKey, privateKey } = await keyAt(join(dir, `key-${name}.json`));
  const key = base64Url(await crypto.subtle.exportKey('raw', publicKey));
  return async (purpose, nonce, about) => {
    const signature = await crypto.subtle.sign(SIGNATURE, privateKey, proofText(purpose, nonce, about));
    return { key, signature: base64Url(signature) };
  };
}

async function keyAt(path: string): Promise<CryptoKeyPair> {
  const kept = await readFile(path, 'utf8').catch(() => undefined);
  if (kept !== undefined) {
    try {
      return await importKey(JSON.parse(kept) as JsonWebKey);
    } catch (cause) {
      throw new Error(`${path} is not a key: remove it, and a new donor begins`, { cause });
    }
  }
  const made = await crypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const text = JSON.stringify(await crypto.subtle.exportKey('jwk', made.privateKey));
  try {
    await writeFile(path, text, { mode: 0o600, flag: 'wx' });
    return made;
  } catch (error) {
    // Another donor of this user has made one meanwhile.
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return keyAt(path);
    throw error;
  }
}

async function importKey(secret: JsonWebKey): Promise<CryptoKeyPair> {
  const { d: _private, ...open } = secret;
  const [privateKey, publicKey] = await Promise.all([
    crypto.subtle.importKey('jwk', { ...secret, key_ops: ['sign'] }, ALGORITHM, false, ['sign']),
    crypto.subtle.importKey('jwk', { ...open, key_ops: ['verify'] }, ALGORITHM, true, ['verify']),
  ]);
  return { privateKey, publicKey };
}

function base64Url(bytes: ArrayBuffer): string {
  return Buffer.from(bytes).toString('base64url');
}
