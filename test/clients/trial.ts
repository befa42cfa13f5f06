/** What was tried of a program, and how it failed if it did. */
export interface Trial {
  program: string;
  version: string;
  what: string;
  error: string | undefined;
  seconds: number;
}

const MAX_ERROR_CHARS = 300;

/** A table of all that was tried, in the order given, and a line of totals. */
export function report(trials: readonly Trial[]): string {
  const rows = trials.map(({ program, version, what, error, seconds }) => [
    program,
    version,
    what,
    `${seconds.toFixed(1)} s`,
    error === undefined ? 'passed' : `FAILED: ${error.replaceAll(/\s+/g, ' ').slice(0, MAX_ERROR_CHARS)}`,
  ]);
  const all = [['program', 'version', 'tried', 'time', 'result'], ...rows];
  const widths = all[0]!.map((_, column) => Math.max(...all.slice(0).map((row) => row[column]!.length)));
  const lines = all.map((row) => row.map((cell, i) => (i === 4 ? cell : cell.padEnd(widths[i]!))).join('  '));
  const failed = trials.filter(({ error }) => error !== undefined).length;
  const programs = new Set(trials.map(({ program }) => program)).size;
  return [...lines, `${programs} programs, ${trials.length} things tried, ${failed} failed`].join('\n');
}
