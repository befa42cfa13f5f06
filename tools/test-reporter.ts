import { relative } from 'node:path';
import type { Reporter, TestCase, TestModule, Vitest } from 'vitest/node';

/** Time from which a file counts as slow; the slowest are listed at the end. */
const SLOW_FILE_MS = 10_000;

/**
 * Ends a run with each failure on one line (a long output is cut off at its start) and `N passed, N failed, N skipped`.
 * A skipped test fails the run unless `-t` was given; in a full run, so does a project that ran no test.
 */
export default class ClosingLine implements Reporter {
  #vitest: Vitest | undefined;

  onInit(vitest: Vitest): void {
    this.#vitest = vitest;
  }

  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]): void {
    const tests = modules.flatMap(({ children }) => [...children.allTests()]);
    const [passed, failed, skipped] = (['passed', 'failed', 'skipped'] as const).map((state) =>
      tests.filter((test) => test.result().state === state),
    ) as [TestCase[], TestCase[], TestCase[]];
    const projects = new Set(modules.map(({ project }) => project.name));
    const empty = process.env.SHOAL_TEST_EVERYTHING
      ? this.#vitest!.projects.filter(({ name }) => !projects.has(name))
      : [];
    const faults = [
      ...failed.map((test) => `${fileOf(test.module)}: ${test.fullName}: ${firstLine(test.result().errors?.[0])}`),
      ...modules.flatMap((module) => module.errors().map((error) => `${fileOf(module)}: ${firstLine(error)}`)),
      ...unhandled.map((error) => `outside of any test: ${firstLine(error)}`),
      ...(this.#vitest!.config.testNamePattern ? [] : skipped).map(
        (test) => `${fileOf(test.module)}: ${test.fullName}: skipped, and Shoal's tests run or fail`,
      ),
      ...empty.map(({ name }) => `no test ran in the project ${name}`),
    ];
    if (faults.length > 0 || passed.length === 0) process.exitCode = 1;
    // Prints after vitest's own reporter, which uses the same event.
    setImmediate(() => {
      for (const line of slowest(modules)) process.stdout.write(`${line}\n`);
      for (const fault of faults) process.stdout.write(`failed: ${fault}\n`);
      process.stdout.write(`\n${passed.length} passed, ${failed.length} failed, ${skipped.length} skipped\n`);
    });
  }
}

function slowest(modules: readonly TestModule[]): string[] {
  return modules
    .map((module) => ({ file: fileOf(module), ms: module.diagnostic().duration }))
    .filter(({ ms }) => ms > SLOW_FILE_MS)
    .sort((a, b) => b.ms - a.ms)
    .map(({ file, ms }) => `slow: ${(ms / 1000).toFixed(1)} s ${file}`);
}

const fileOf = ({ moduleId }: TestModule): string => relative(process.cwd(), moduleId);

function firstLine(error: unknown): string {
  const message = (error as { message?: string } | undefined)?.message ?? String(error ?? '');
  return message.split('\n')[0]!.slice(0, 300);
}
