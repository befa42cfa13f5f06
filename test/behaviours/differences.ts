import type { SourceTest } from './behaviour.ts';
import { BEHAVIOURS } from './table.ts';

/** The behaviours that do not hold, with their reasons, for docs/API.md. */
export function differencesMarkdown(): string {
  const differing = BEHAVIOURS.filter(({ differs }) => differs !== undefined);
  const rows = differing.map(({ says, differs, askedBy }) => [says, filesOf(askedBy), differs!]);
  const lines = rows.map((cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`);
  return [
    `Of ${BEHAVIOURS.length} behaviours that the tests of llama.cpp's server and of vLLM ask of these endpoints,`,
    `${BEHAVIOURS.length - differing.length} hold, which a test tries (\`test/behaviours\`). These do not:`,
    '',
    '| there | asked by | here |',
    '| --- | --- | --- |',
    ...lines,
    '',
  ].join('\n');
}

function filesOf(tests: readonly SourceTest[]): string {
  return [...new Set(tests.map(({ server, file }) => `${server}: \`${file.split('/').at(-1)}\``))].join(', ');
}
