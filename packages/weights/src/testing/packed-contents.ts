import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Names and bytes of a packed folder, without what names its source. */
export async function packedContents(dir: string): Promise<string> {
  const names = (await readdir(dir, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  const texts = names.map(async ({ parentPath, name }) => {
    const path = join(parentPath, name);
    const bytes = await readFile(path);
    if (name !== 'manifest.json') return `${path.slice(dir.length)} ${bytes.toString('base64')}`;
    const {
      sourceFingerprint: _,
      manifestDigest: __,
      ...manifest
    } = JSON.parse(bytes.toString()) as Record<string, unknown>;
    return `manifest ${JSON.stringify(manifest)}`;
  });
  return (await Promise.all(texts)).sort().join('\n');
}
