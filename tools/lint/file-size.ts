import type { Fault, SourceFile } from './source-files.ts';

const MAX_LINES = 400;

/** Finds TypeScript files that are too long: production, tests, tools and examples. */
export function sizeFaults(files: readonly SourceFile[]): Fault[] {
  return files.flatMap(({ path, text }) => {
    const lines = text.split('\n').length - 1;
    if (lines <= MAX_LINES) return [];
    const fault = `has ${lines} lines, ${lines - MAX_LINES} more than the limit of ${MAX_LINES}`;
    return [{ file: path, fault, remedy: 'split it by what its parts are for' }];
  });
}
