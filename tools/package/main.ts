import { spawnSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT_DIR, UsageError } from '../../coordinator/src/index.ts';
import { SWITCH, text } from '../../coordinator/src/base/option-values.ts';
import { option, optionsHelp, readOptions, wantsHelp } from '../../coordinator/src/base/options.ts';
import { VERSION } from '../../coordinator/src/base/version.ts';
import { stage } from './stage.ts';

const OPTIONS = {
  check: option('check', SWITCH, {
    help: 'install it in an empty folder, from the registry, and use it, by two versions of Node',
  }),
  image: option('image', SWITCH, { help: 'build the image by buildah, and run it by podman' }),
  base: option('base', text('IMAGE'), {
    defaultText: 'one made here by debootstrap, where no registry of images is needed',
    help: 'image with Node that --image begins with',
  }),
};

const HELP = `usage: npm run package [-- options]

Makes shoal-VERSION.tgz, which "npm install" takes: the coordinator as JavaScript, the built pages and kernels, and the default model.

${optionsHelp(OPTIONS)}`;

async function main(argv: readonly string[]): Promise<number> {
  if (wantsHelp(argv)) {
    process.stdout.write(HELP);
    return 0;
  }
  const { check, image, base } = readOptions(OPTIONS, argv);
  const tarball = await pack();
  process.stdout.write(`${tarball} (${(statSync(tarball).size / 1e6).toFixed(1)} MB)\n`);
  if (check) await (await import('./install-check.ts')).checkInstall(tarball);
  if (image) (await import('./image-check.ts')).checkImage(base);
  return 0;
}

/** Returns the path of the tarball. */
async function pack(): Promise<string> {
  const folder = join(ROOT_DIR, '.cache/package');
  await stage(folder);
  const npm = process.env.npm_execpath;
  const [program, ...args] = npm ? [process.execPath, npm] : [process.platform === 'win32' ? 'npm.cmd' : 'npm'];
  const options = ['pack', '--ignore-scripts', '--loglevel=error', '--pack-destination', ROOT_DIR];
  const { status, error } = spawnSync(program!, [...args, ...options], {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  if (error) throw error;
  if (status !== 0) throw new Error('npm pack failed: see above');
  return join(ROOT_DIR, `shoal-${VERSION}.tgz`);
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(
    `shoal: ${error instanceof UsageError ? error.message : ((error as Error).stack ?? String(error))}\n`,
  );
  process.exitCode = error instanceof UsageError ? 2 : 1;
}
