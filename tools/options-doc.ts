import { readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { configMarkdown, ROOT_DIR } from '../coordinator/src/config.ts';

const FILE = join(ROOT_DIR, 'docs/OPERATIONS.md');
const BEGIN = '<!-- options: written by tools/options-doc.ts -->';
const END = '<!-- options: end -->';

/** Puts the option tables of `shoal serve` between the document's markers. Throws if a marker is missing. */
export function withOptionTables(document: string): string {
  const begin = document.indexOf(BEGIN);
  const end = document.indexOf(END);
  if (begin < 0 || end < begin) throw new Error(`${relative(ROOT_DIR, FILE)} needs the lines ${BEGIN} and ${END}`);
  return `${document.slice(0, begin)}${BEGIN}\n\n${configMarkdown()}\n${document.slice(end)}`;
}

/** Describes a fault in docs/OPERATIONS.md's option tables and its remedy; undefined if they are up to date. */
export function optionsDocProblem(): string | undefined {
  const document = readFileSync(FILE, 'utf8');
  if (document === withOptionTables(document)) return undefined;
  return `The option tables in ${relative(ROOT_DIR, FILE)} differ from coordinator/src/config.ts. Run: node --import tsx tools/options-doc.ts`;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  if (process.argv.includes('--check')) {
    const problem = optionsDocProblem();
    if (problem !== undefined) process.stderr.write(`${problem}\n`);
    process.exitCode = problem === undefined ? 0 : 1;
  } else {
    writeFileSync(FILE, withOptionTables(readFileSync(FILE, 'utf8')));
  }
}
