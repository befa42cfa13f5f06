import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { PROJECTS } from '../vitest.config.ts';

// `npm test`, `npm test -- unit golden` (projects), `npm test -- test/golden/eplb -t balance` (files, and vitest's own options).
const root = join(import.meta.dirname, '..');
const args = process.argv.slice(2).flatMap((arg) => (PROJECTS.includes(arg) ? ['--project', arg] : [arg]));
const reporters = ['--reporter=default', '--reporter=./tools/test-reporter.ts'];
const vitest = join(root, 'node_modules/vitest/vitest.mjs');
const env = { ...process.env, ...(args.length === 0 && { SHOAL_TEST_EVERYTHING: '1' }) };
const command = [vitest, 'run', ...reporters, ...args];
// Ctrl-C also reaches vitest, which then ends by itself.
process.on('SIGINT', () => {});
const { status } = spawnSync(process.execPath, command, { cwd: root, stdio: 'inherit', env });
process.exitCode = status ?? 1;
