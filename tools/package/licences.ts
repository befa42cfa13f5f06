import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { ROOT_DIR } from '../../coordinator/src/index.ts';
import { packageOf } from './bundle.ts';

/** What the built pages begin with. */
const PAGES = ['apps/donor/src/main.tsx', 'apps/donor/src/worker.ts', 'apps/console/src/main.tsx'];
/** Its standard library is part of the WebAssembly kernels. */
const IN_KERNELS = 'assemblyscript';

/** Modules of which the built pages consist. Vite and esbuild resolve them alike. */
async function pageInputs(): Promise<string[]> {
  const { metafile } = await build({
    absWorkingDir: ROOT_DIR,
    entryPoints: PAGES,
    outdir: 'unused',
    bundle: true,
    splitting: true,
    format: 'esm',
    write: false,
    metafile: true,
    logLevel: 'warning',
    loader: { '.css': 'empty' },
    plugins: [
      {
        name: 'assets',
        setup: ({ onResolve }) => void onResolve({ filter: /\?(raw|url)$/ }, ({ path }) => ({ path, external: true })),
      },
    ],
  });
  return Object.keys(metafile.inputs);
}

/**
 * The licences of the packages whose code the package holds, of the bundle and of pages and kernels. Throws where a package has none,
 * since its code may then not be passed on.
 */
export async function licencesOf(bundled: readonly string[]): Promise<string> {
  const inputs = [...bundled, ...(await pageInputs())].filter((path) => path.includes('node_modules/'));
  const dirs = new Set([...inputs.map(packageDir), join('node_modules', IN_KERNELS)]);
  const sections = [...dirs].sort().map(sectionOf);
  return [
    'This package holds code of these packages, in dist/, in the built pages under apps/, and in the WebAssembly under packages/kernels/.',
    ...new Set(sections),
  ].join(`\n\n${'='.repeat(80)}\n\n`);
}

/** The folder of the package that a module belongs to: another version of it may lie in another folder. */
function packageDir(path: string): string {
  const name = packageOf(`/${path}`);
  return path.slice(0, path.lastIndexOf(`node_modules/${name}/`)) + `node_modules/${name}`;
}

function sectionOf(dir: string): string {
  const folder = join(ROOT_DIR, dir);
  const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as {
    name: string;
    version: string;
    license?: string;
  };
  const files = existsSync(folder)
    ? readdirSync(folder).filter((file) => /^(licen[cs]e|notice|copying)/i.test(file))
    : [];
  if (license === undefined && files.length === 0)
    throw new Error(`${dir} has no licence: its code may not be passed on`);
  const texts = files.sort().map((file) => readFileSync(join(folder, file), 'utf8').trim());
  return [`${name} ${version}${license === undefined ? '' : ` (${license})`}`, ...texts].join('\n\n');
}
