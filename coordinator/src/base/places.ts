import { join, resolve } from 'node:path';
import envPaths from 'env-paths';

/** A checkout runs its TypeScript sources; what `npm run package` makes is JavaScript. */
const IS_CHECKOUT = import.meta.filename.endsWith('.ts');

/** The folder of the repository, or of the installed package, which has built pages, kernels and models at the same paths. */
export const ROOT_DIR = resolve(import.meta.dirname, '../../..');

/**
 * Where files are kept that no option places. Installed, not in `node_modules`, which the next `npm install` may empty, but where
 * the system keeps such files of a user.
 */
export const OWN_DIRS = IS_CHECKOUT
  ? { cache: join(ROOT_DIR, '.cache'), data: join(ROOT_DIR, '.cache/data') }
  : envPaths('shoal', { suffix: '' });
