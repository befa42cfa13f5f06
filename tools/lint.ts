import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { calendarFaults } from './lint/calendar.ts';
import { linkFaults } from './lint/docs.ts';
import { sizeFaults } from './lint/file-size.ts';
import { glossaryFaults } from './lint/glossary.ts';
import { floorFaults } from './lint/imports.ts';
import { type Fault, ROOT, sourceFiles } from './lint/source-files.ts';

// `npm run lint`: oxlint (which also finds import cycles), then our own rules.
const oxlint = join(ROOT, 'node_modules/oxlint/bin/oxlint');
const { status } = spawnSync(process.execPath, [oxlint, '--deny-warnings', ...process.argv.slice(2)], {
  cwd: ROOT,
  stdio: 'inherit',
});

const code = sourceFiles(['.ts', '.tsx']);
const checks: Record<string, Fault[]> = {
  floors: floorFaults(code),
  glossary: glossaryFaults(code),
  calendar: calendarFaults(code),
  'file size': sizeFaults(code),
  links: linkFaults(sourceFiles(['.md'])),
};
for (const [check, faults] of Object.entries(checks)) {
  for (const { file, line, fault, remedy } of faults) {
    process.stderr.write(`${check}: ${file}${line === undefined ? '' : `:${line}`}: ${fault}\n    remedy: ${remedy}\n`);
  }
}
const total = Object.values(checks).flat().length;
if (total > 0) process.stderr.write(`lint: ${total} faults\n`);
process.exitCode = status !== 0 || total > 0 ? 1 : 0;
