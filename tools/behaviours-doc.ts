import { readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT_DIR } from '../coordinator/src/config.ts';
import { differencesMarkdown } from '../test/behaviours/differences.ts';

const FILE = join(ROOT_DIR, 'docs/API.md');
const BEGIN = '<!-- differences: written by tools/behaviours-doc.ts -->';
const END = '<!-- differences: end -->';

/** Puts what differs from other servers between the document's markers. Throws if a marker is missing. */
function withDifferences(document: string): string {
  const begin = document.indexOf(BEGIN);
  const end = document.indexOf(END);
  if (begin < 0 || end < begin) throw new Error(`${relative(ROOT_DIR, FILE)} needs the lines ${BEGIN} and ${END}`);
  return `${document.slice(0, begin)}${BEGIN}\n\n${differencesMarkdown()}\n${document.slice(end)}`;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const document = readFileSync(FILE, 'utf8');
  const wanted = withDifferences(document);
  if (!process.argv.includes('--check')) writeFileSync(FILE, wanted);
  else if (document !== wanted) {
    process.stderr.write(
      `The differences in ${relative(ROOT_DIR, FILE)} are not those of test/behaviours. Run: node --import tsx tools/behaviours-doc.ts\n`,
    );
    process.exitCode = 1;
  }
}
