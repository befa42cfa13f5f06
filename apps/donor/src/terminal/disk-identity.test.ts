import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { proofSchema, proofText } from '@shoal/protocol';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { claimDiskIdentity } from './disk-identity.ts';
import { openDiskKey } from './disk-key.ts';

const COORDINATOR = new URL('https://shoal.example/');
const NONCE = 'n'.repeat(43);
let dir: string;
beforeEach(async () => void (dir = await mkdtemp(join(tmpdir(), 'shoal-donor-identity-'))));
afterEach(() => rm(dir, { recursive: true }));

it('claimDiskIdentity keeps one token for this user alone, and gives its number back', async () => {
  const first = await claimDiskIdentity(dir, COORDINATOR);
  await first.release();
  const again = await claimDiskIdentity(dir, COORDINATOR);
  expect(again).toMatchObject({ donorToken: first.donorToken, tab: 0 });
  await again.release();
  const kept = await readdir(dir);
  expect(kept).toEqual(['donor-token', expect.stringMatching(/^key-[\da-f]{16}\.json$/)]);
  if (process.platform === 'win32') return;
  for (const name of kept) expect((await stat(join(dir, name))).mode & 0o077, name).toBe(0);
});

it('claimDiskIdentity passes over the numbers of running donors, and takes those of killed ones', async () => {
  // The parent of this process runs, and no process has the largest number.
  await writeFile(join(dir, 'donor-0.pid'), String(process.ppid));
  await writeFile(join(dir, 'donor-1.pid'), String(2 ** 31 - 1));
  expect((await claimDiskIdentity(dir, COORDINATOR)).tab).toBe(1);
});

it('openDiskKey proves the same donor to one coordinator at every visit, and another to another', async () => {
  const other = new URL('https://other.example/');
  const proves = [
    await openDiskKey(dir, COORDINATOR),
    await openDiskKey(dir, COORDINATOR),
    await openDiskKey(dir, other),
  ];
  const proofs = await Promise.all(proves.map((prove) => prove('join', NONCE)));
  expect(proofs[0]!.key).toBe(proofs[1]!.key);
  expect(proofs[0]!.key).not.toBe(proofs[2]!.key);
  for (const { key, signature } of proofs.map((proof) => proofSchema.parse(proof))) {
    const bytes = (text: string): Buffer<ArrayBuffer> => Buffer.from(text, 'base64url');
    const publicKey = await crypto.subtle.importKey('raw', bytes(key), { name: 'ECDSA', namedCurve: 'P-256' }, false, [
      'verify',
    ]);
    const of = { name: 'ECDSA', hash: 'SHA-256' };
    expect(await crypto.subtle.verify(of, publicKey, bytes(signature), proofText('join', NONCE))).toBe(true);
  }
  const [file] = (await readdir(dir)).filter((name) => name.startsWith('key-'));
  await writeFile(join(dir, file!), '{}');
  await expect(Promise.all([openDiskKey(dir, COORDINATOR), openDiskKey(dir, other)])).rejects.toThrow(
    'is not a key: remove it',
  );
});
