import { describe, expect, it } from 'vitest';
import type { GrammarPart, GrammarSource } from '../grammar/grammar-source.ts';
import type { Tool } from './output-parser.ts';
import { conventionOf, readAnswer } from './testing/read-answer.ts';
import { RENDERERS, toPieces } from './testing/render-calls.ts';

const NUMBER = { type: 'integer' };
const properties = { city: { type: 'string' }, days: NUMBER, unit: { enum: ['C', 'F'] }, more: { type: 'object' } };
const tools: Tool[] = [
  { name: 'weather', parameters: { type: 'object', properties, required: ['city', 'more'] } },
  { name: 'all_optional', parameters: { type: 'object', properties: { days: NUMBER, unit: properties.unit } } },
  { name: 'nothing' },
];
const VALUES: Record<string, unknown> = { city: 'Rome "é"\n<b>', days: 3, unit: 'F', more: { a: [null] } };

/** An answer that the grammar allows: with what is optional, or without. */
function write(source: GrammarSource, sequence: number, { count, isFull }: { count: number; isFull: boolean }): string {
  if (source.kind !== 'sequences') throw new Error(`${source.kind} is no sequence`);
  const { separator = '', before = '', after = '', most = 1 } = source.repeat ?? {};
  const tool = tools[sequence]!;
  const keys = Object.keys((tool.parameters?.['properties'] ?? {}) as object);
  const required = (tool.parameters?.['required'] ?? []) as string[];
  const chosen = isFull ? keys : keys.filter((key) => required.includes(key));
  const whole = Object.fromEntries(chosen.map((key) => [key, VALUES[key]]));
  const writePart = (part: GrammarPart): string => {
    if (typeof part === 'string') return part;
    if ('optional' in part) return isFull ? part.optional.map(writePart).join('') : '';
    if ('until' in part) return `${String(VALUES['city'])}${part.until}`;
    if ('choice' in part) return part.choice[1]!;
    const key = keys.find((one) => (tool.parameters!['properties'] as Record<string, unknown>)[one] === part.schema);
    const isWhole = part.schema === tool.parameters || (key === undefined && !isTagged(part.schema));
    return JSON.stringify(isWhole ? whole : VALUES[key ?? keyOf(part.schema)]);
  };
  const one = source.sequences[sequence]!.map(writePart).join('');
  return before + Array<string>(Math.min(count, most)).fill(one).join(separator) + after;
}

/** The schemas of single arguments are copies, where definitions may be added. */
const keyOf = (schema: unknown): string =>
  Object.entries(properties).find(([, one]) => JSON.stringify(one) === JSON.stringify(schema))?.[0] ?? '';
const isTagged = (schema: unknown): boolean => keyOf(schema) !== '';

describe.each(RENDERERS)('forced calls of $convention', (renderer) => {
  const convention = conventionOf(renderer);

  it.each([0, 1, 2])('are read as calls (tool %i)', (sequence) => {
    const tool = tools[sequence]!;
    const required = (tool.parameters?.['required'] ?? []) as string[];
    const keys = Object.keys((tool.parameters?.['properties'] ?? {}) as object);
    for (const most of [1, 2]) {
      for (const isFull of [true, false]) {
        const source = convention.forcedCalls(tools, { most });
        const text = write(source, sequence, { count: most, isFull });
        const { calls, content } = readAnswer(convention, toPieces(text, renderer.specials), { tools });
        const chosen = isFull ? keys : keys.filter((key) => required.includes(key));
        const expected = Object.fromEntries(chosen.map((key) => [key, VALUES[key]]));
        expect(calls).toHaveLength(renderer.isSingle || convention.name === 'harmony' ? 1 : most);
        for (const call of calls) {
          expect(call.name).toBe(tool.name);
          expect(JSON.parse(call.arguments)).toEqual(expected);
        }
        expect(content).toBe('');
      }
    }
  });

  it('need a tool', () => {
    expect(() => convention.forcedCalls([], { most: 1 })).toThrow(/no tools/);
  });
});
