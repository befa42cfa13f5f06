import { chmod, cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ROOT_DIR } from '../../coordinator/src/index.ts';
import { bundle, NOT_BUNDLED } from './bundle.ts';
import { licencesOf } from './licences.ts';

/** What the package has at the same path as the repository. */
const COPIED = [
  'apps/donor/dist',
  'apps/console/dist',
  'packages/kernels/dist',
  'models/tiny-stories',
  'models/adapters',
  'coordinator/bin/healthcheck.mjs',
  'docs/API.md',
  'docs/MODELS.md',
  'docs/OPERATIONS.md',
  'docs/PROTOCOL.md',
  'docs/security.md',
  'docs/speculation.md',
  'CHANGELOG.md',
  'LICENSE',
  'README.md',
];

/** Prebuilt for some platforms only; where one is missing, the other is tried. */
const PLATFORM_BINARIES = new Set(['node-datachannel', '@roamhq/wrtc']);

/** Makes the package's folder: what `npm run package` packs, and what tests run as it is. */
export async function stage(dir: string): Promise<void> {
  await rm(dir, { recursive: true, force: true });
  const inputs = await bundle(join(dir, 'dist'));
  for (const path of COPIED) await copy(path, join(dir, path));
  await copy('tools/package/bin.mjs', join(dir, 'bin/shoal.mjs'));
  await chmod(join(dir, 'bin/shoal.mjs'), 0o755);
  await writeFile(join(dir, 'LICENSES-THIRD-PARTY.txt'), await licencesOf(Object.keys(inputs)));
  await writeFile(join(dir, 'package.json'), `${JSON.stringify(await manifest(), null, 2)}\n`);
}

async function copy(from: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true });
  // Stamps of tools/run.mjs stay behind.
  await cp(join(ROOT_DIR, from), to, { recursive: true, filter: (path) => !path.endsWith('.sources') });
}

async function manifest(): Promise<object> {
  const { name, version, description, license, type, engines } = await readJson('package.json');
  const versions = await Promise.all(
    NOT_BUNDLED.map(async (each) => [each, (await readJson(`node_modules/${each}/package.json`)).version] as const),
  );
  const isOptional = ([each]: readonly [string, unknown]): boolean => PLATFORM_BINARIES.has(each);
  return {
    name,
    version,
    private: true,
    description,
    license,
    type,
    bin: { shoal: 'bin/shoal.mjs' },
    engines,
    dependencies: Object.fromEntries(versions.filter((each) => !isOptional(each))),
    optionalDependencies: Object.fromEntries(versions.filter(isOptional)),
    // For `shoal donate` with a GPU: 130 MB that no coordinator needs, so whoever lends one installs it (ADR 37).
    peerDependencies: { webgpu: (await readJson('node_modules/webgpu/package.json')).version },
    peerDependenciesMeta: { webgpu: { optional: true } },
  };
}

async function readJson(path: string): Promise<Record<string, unknown>> {
  return JSON.parse(await readFile(join(ROOT_DIR, path), 'utf8')) as Record<string, unknown>;
}
