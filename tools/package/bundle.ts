import { readdir, readFile } from 'node:fs/promises';
import { isBuiltin } from 'node:module';
import { basename, dirname, extname, join, relative, resolve, sep } from 'node:path';
import { build, type Metafile, type Plugin } from 'esbuild';
import { ROOT_DIR } from '../../coordinator/src/index.ts';

/** What the bundle leaves to npm: native code, and WebAssembly with data files beside it. */
export const NOT_BUNDLED = ['node-datachannel', '@roamhq/wrtc', '@electric-sql/pglite'];

/**
 * Bundled packages whose code names files beside it, none of which is read here: pino does for transports in threads of their own,
 * and socket.io to serve its client.
 */
const FILES_UNREAD: ReadonlySet<string> = new Set(['pino', 'socket.io', 'thread-stream']);

/** Loaded by donors' pages alone (packages/kernels/src/index.ts), and by a checkout alone. */
const NOT_HERE = /\/(wasm\/browser|thread-program)\.ts$/;

/**
 * Bundles the command line and each module that a thread begins with, as JavaScript files in one folder, which share their chunks.
 * Throws where a source or a package wants files beside it that would not be there. Resolves with what the bundle was made of.
 */
export async function bundle(outDir: string): Promise<Metafile['inputs']> {
  const entries = await threadModules();
  entries.set('main', join(ROOT_DIR, 'coordinator/src/cli/main.ts'));
  const { metafile } = await build({
    absWorkingDir: ROOT_DIR,
    entryPoints: [...entries].map(([out, path]) => ({ in: path, out })),
    outdir: outDir,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20.19',
    chunkNames: '[name]-[hash]',
    // Errors are told apart by their names.
    keepNames: true,
    legalComments: 'none',
    logLevel: 'warning',
    metafile: true,
    external: ['playwright', 'webgpu', ...NOT_BUNDLED.flatMap((name) => [name, `${name}/*`])],
    banner: { js: BANNER },
    plugins: [leaveOut, rawText, ownSources(entries), packageFiles],
  });
  refuseMissing(metafile);
  return metafile.inputs;
}

/** Sources of the coordinator; pages are built by Vite. */
const SOURCES = [
  'coordinator/src',
  ...['kernels', 'model', 'peer', 'placement', 'protocol', 'transport', 'weights'].map(
    (name) => `packages/${name}/src`,
  ),
];

/** The modules that threads begin with, by the names of their files in the bundle. */
async function threadModules(): Promise<Map<string, string>> {
  const modules = new Map<string, string>();
  for (const folder of SOURCES) {
    const files = await readdir(join(ROOT_DIR, folder), { recursive: true });
    for (const file of files.filter(
      (each) => each.endsWith('.ts') && !/\.test\.ts$|(^|[/\\])testing[/\\]/.test(each),
    )) {
      const path = join(ROOT_DIR, folder, file);
      for (const [, module] of (await readFile(path, 'utf8')).matchAll(MODULE_URL)) {
        const name = basename(module!, extname(module!));
        if (modules.has(name)) throw new Error(`two threads begin with modules that are named ${name}`);
        modules.set(name, resolve(dirname(path), module!));
      }
    }
  }
  return modules;
}

/** What CommonJS code expects, in each file. */
const BANNER = [
  "import { createRequire as createRequireOfBundle } from 'node:module';",
  'const require = createRequireOfBundle(import.meta.url);',
  'const bundleDir = import.meta.dirname;',
].join('\n');

const leaveOut: Plugin = {
  name: 'leave-out',
  setup({ onLoad }) {
    onLoad({ filter: NOT_HERE }, ({ path }) => ({
      contents: `throw new Error(${JSON.stringify(`${relative(ROOT_DIR, path)} is not part of this package`)});`,
    }));
  },
};

/** Vite's `?raw` imports, which the shaders are. */
const rawText: Plugin = {
  name: 'raw-text',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /\?raw$/ }, ({ path, resolveDir }) => ({
      path: resolve(resolveDir, path.slice(0, -'?raw'.length)),
      namespace: 'raw-text',
    }));
    onLoad({ filter: /.*/, namespace: 'raw-text' }, async ({ path }) => ({
      contents: await readFile(path, 'utf8'),
      loader: 'text',
    }));
  },
};

const MODULE_URL = /new URL\('(\.\/[\w-]+\.(?:ts|mjs))', import\.meta\.url\)/g;

/** Lets our sources find the bundle's modules of threads, and the folders that the package has as the repository has them. */
function ownSources(entries: ReadonlyMap<string, string>): Plugin {
  const rewrite = (source: string, path: string): string => {
    const dir = dirname(path);
    const rewritten = source
      .replaceAll(MODULE_URL, (_, file: string) => {
        const name = basename(file, extname(file));
        if (entries.get(name) !== resolve(dir, file))
          throw new Error(`${path} starts ${file}, which the bundle does not have`);
        return `new URL('./${name}.js', import.meta.url)`;
      })
      .replaceAll('import.meta.dirname', `(bundleDir + ${JSON.stringify(`/../${posix(relative(ROOT_DIR, dir))}`)})`);
    if (/(?<!createRequire\()(?<!\.js', )import\.meta\.url/.test(rewritten))
      throw new Error(`${path} uses import.meta.url in a way that tools/package/bundle.ts does not know`);
    return rewritten;
  };
  return {
    name: 'own-sources',
    setup({ onLoad }) {
      onLoad({ filter: /\.ts$/ }, async ({ path }) => {
        if (path.includes('node_modules') || NOT_HERE.test(path)) return undefined;
        const source = await readFile(path, 'utf8');
        if (!source.includes('import.meta.')) return undefined;
        return { contents: rewrite(source, path), loader: 'ts' };
      });
    },
  };
}

/** Lets packages name files beside them. */
const packageFiles: Plugin = {
  name: 'package-files',
  setup({ onLoad }) {
    onLoad({ filter: /node_modules.*\.c?js$/ }, async ({ path }) => {
      const source = await readFile(path, 'utf8');
      if (!/\b__(?:dirname|filename)\b/.test(source)) return undefined;
      const name = packageOf(path);
      if (!FILES_UNREAD.has(name))
        throw new Error(`${path} names files beside it: see in tools/package/bundle.ts whether it reads them`);
      return { contents: `const __dirname = bundleDir;\n${source}` };
    });
  },
};

/** Name of the package that a file in `node_modules` belongs to. */
export function packageOf(path: string): string {
  const [, name] = /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(posix(path)) ?? [];
  if (name === undefined) throw new Error(`${path} is not in node_modules`);
  return name;
}

/** Packages that nothing needs: faster masks for `ws`, colours for `debug`, a browser for `shoal doctor`, a GPU for `shoal donate`. */
const OPTIONAL = new Set([
  'webgpu',
  'playwright',
  'bufferutil',
  'utf-8-validate',
  'supports-color',
  'pg-native',
  'pg-cloudflare',
]);

function refuseMissing({ outputs }: Metafile): void {
  const names = Object.values(outputs).flatMap(({ imports }) => imports.filter(({ external }) => external));
  const missing = names
    .map(({ path }) => path)
    .filter((path) => !isBuiltin(path) && !OPTIONAL.has(path))
    .filter((path) => !NOT_BUNDLED.some((name) => path === name || path.startsWith(`${name}/`)));
  if (missing.length > 0)
    throw new Error(`the bundle imports what it does not have: ${[...new Set(missing)].join(', ')}`);
}

const posix = (path: string): string => path.split(sep).join('/');
