import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export const ROOT = join(import.meta.dirname, '../..');

/** What is wrong in a file, and what to do about it. */
export interface Fault {
  file: string;
  line?: number;
  fault: string;
  remedy: string;
}

export interface SourceFile {
  /** From the root of the repository, with `/`. */
  path: string;
  text: string;
}

const SKIPPED = new Set(['node_modules', 'dist', 'fixtures', 'models', 'assembly']);

/** All files of our own with such an ending: `.ts` and `.tsx` for code, `.md` for docs. */
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

/** Line number, from 1, of a place in a text. */
export const lineAt = (text: string, index: number): number => text.slice(0, index).split('\n').length;
