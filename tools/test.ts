import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, relative } from 'node:path';

/**
 * One after the other: a browser's frames should not wait for the unit tests on a machine of two cores. Files of units use every
 * core (vitest leaves one free: half of two); the others start processes and threads of their own.
 */
const PROJECTS = { unit: [`--maxWorkers=${availableParallelism()}`], integration: [], browser: [] };

interface Counts {
  numPassedTests: number;
  numFailedTests: number;
  numPendingTests: number;
  success: boolean;
  testResults: {
    name: string;
    message: string;
    assertionResults: { fullName: string; status: string; failureMessages: string[] }[];
  }[];
}

const root = join(import.meta.dirname, '..');
const folder = mkdtempSync(join(tmpdir(), 'shoal-test-'));
const args = process.argv.slice(2);
const total = { passed: 0, failed: 0, skipped: 0 };
/** Told once more at the end, where a long output is cut off last. */
const failures: string[] = [];
let ok = true;

for (const [project, options] of Object.entries(PROJECTS)) {
  const file = join(folder, `${project}.json`);
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${file}`];
  // Filters may fit only some of the projects; without any, a project in which nothing ran has failed.
  const filters = args.length > 0 ? ['--passWithNoTests', ...args] : [];
  const vitest = join(root, 'node_modules/vitest/vitest.mjs');
  const { status } = spawnSync(
    process.execPath,
    [vitest, 'run', '--project', project, ...options, ...reporters, ...filters],
    {
      cwd: root,
      stdio: 'inherit',
    },
  );
  if (status !== 0) ok = false;
  if (!existsSync(file)) continue;
  const counts = JSON.parse(readFileSync(file, 'utf8')) as Counts;
  total.passed += counts.numPassedTests;
  total.failed += counts.numFailedTests;
  total.skipped += counts.numPendingTests;
  if (!counts.success) ok = false;
  failures.push(...failuresOf(counts));
}
rmSync(folder, { recursive: true, force: true });
if (total.skipped > 0) {
  process.stdout.write(`${total.skipped} tests were skipped: Shoal's tests run or fail.\n`);
  ok = false;
}
for (const failure of failures) process.stdout.write(`failed: ${failure}\n`);
process.stdout.write(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped\n`);
process.exitCode = ok && total.passed > 0 ? 0 : 1;

/** A line for each test that failed, and for each file that failed outside of its tests. */
function failuresOf({ testResults }: Counts): string[] {
  return testResults.flatMap(({ name, message, assertionResults }) => {
    const file = relative(root, name);
    const failed = assertionResults.filter(({ status }) => status === 'failed');
    if (failed.length === 0) return message ? [`${file}: ${firstLine(message)}`] : [];
    return failed.map(({ fullName, failureMessages }) => `${file}: ${fullName}: ${firstLine(failureMessages[0])}`);
  });
}

function firstLine(text = ''): string {
  return text.split('\n')[0]!.slice(0, 300);
}
