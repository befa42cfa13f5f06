/**
 * Compares Shoal's rendering of a folder of published templates with transformers':
 *
 *     venv/bin/python test/golden/make/chat_templates/make.py FOLDER > /tmp/rendered.json
 *     node --import tsx test/golden/make/chat_templates/compare.ts /tmp/rendered.json
 */
import { readFileSync } from 'node:fs';
import { type Comparison, parseCases, preparedComparisons, rawComparisons } from '../../chat-template-cases.ts';

/** The time that `make.py` has. */
const NOW = new Date(2026, 2, 5, 17, 4, 9).getTime();

class FixedDate extends Date {
  constructor() {
    super(NOW);
  }
}

const cases = parseCases(readFileSync(process.argv[2]!, 'utf8'));
globalThis.Date = FixedDate as DateConstructor;
const counts = { equal: 0, refusedByBoth: 0, different: 0 };
const templates = new Set<string>();
for (const [template, of] of Object.entries(cases.templates)) {
  for (const [kind, comparisons] of [
    ['prepared', () => preparedComparisons(cases, of)],
    ['raw', () => rawComparisons(cases, of)],
  ] as const) {
    for (const one of comparisons()) report(`${template} [${kind}: ${one.name}]`, template, one);
  }
}

function report(name: string, template: string, { expected, actual }: Comparison): void {
  let text: string | null = null;
  let why = '';
  try {
    text = actual();
  } catch (error) {
    why = (error as Error).message;
  }
  if (text === expected) {
    counts[text === null ? 'refusedByBoth' : 'equal']++;
    return;
  }
  counts.different++;
  templates.add(template);
  console.log(`${name}: ${difference(expected, text, why)}`);
}

/** Where two texts part. */
function difference(expected: string | null, actual: string | null, why: string): string {
  if (actual === null) return `Shoal refuses it: ${why}`;
  if (expected === null) return `transformers refuses it, Shoal writes ${JSON.stringify(actual.slice(-80))}`;
  let at = 0;
  while (expected[at] === actual[at]) at++;
  const part = (text: string): string => JSON.stringify(text.slice(Math.max(0, at - 30), at + 50));
  return `transformers writes ${part(expected)}, Shoal ${part(actual)}`;
}

const total = Object.keys(cases.templates).length;
console.log(
  `${total} templates, ${Object.keys(cases.cases).length} conversations: ${counts.equal} texts equal, ` +
    `${counts.refusedByBoth} refused by both, ${counts.different} different (in ${templates.size} templates)`,
);
