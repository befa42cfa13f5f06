import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export const ROOT = join(import.meta.dirname, '../..');

/** A problem in a file, and its remedy. */
export interface Fault {
  file: string;
  line?: number;
  fault: string;
  remedy: string;
}

export interface SourceFile {
  /** Relative to the repository, with `/`. */
  path: string;
  text: string;
}

const SKIPPED = new Set(['node_modules', 'dist', 'fixtures', 'models', 'assembly']);

/** All our files with one of `endings`: `.ts` and `.tsx` for code, `.md` for docs. */
export function sourceFiles(endings: readonly string[], folder = ''): SourceFile[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
    if (entry.isDirectory()) {
      return entry.name.startsWith('.') || SKIPPED.has(entry.name) ? [] : sourceFiles(endings, path);
    }
    return endings.some((ending) => path.endsWith(ending))
      ? [{ path, text: readFileSync(join(ROOT, path), 'utf8') }]
      : [];
  });
}

export const isTest = (path: string): boolean => /\.test\.tsx?$|\/testing\//.test(path);

/** Line number, from 1, of `index`. */
export const lineAt = (text: string, index: number): number => text.slice(0, index).split('\n').length;
