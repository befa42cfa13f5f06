import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

/** CI's checks besides the tests; stops at the first failure. */
const STEPS = [
  ['types', 'node_modules/typescript/bin/tsc', '--noEmit'],
  ['lint', '--import', 'tsx', 'tools/lint.ts'],
  ['option tables', '--import', 'tsx', 'tools/options-doc.ts', '--check'],
  ['differences', '--import', 'tsx', 'tools/behaviours-doc.ts', '--check'],
  ['models', '--import', 'tsx', 'tools/models-doc.ts', '--check'],
  ['format', 'node_modules/prettier/bin/prettier.cjs', '--check', '--log-level', 'warn', '.'],
] as const;

const root = join(import.meta.dirname, '..');
for (const [name, ...args] of STEPS) {
  process.stderr.write(`check: ${name}\n`);
  const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
  if (status !== 0) {
    process.stderr.write(`check: ${name} failed\n`);
    process.exit(status ?? 1);
  }
}
process.stderr.write('check: all good\n');
