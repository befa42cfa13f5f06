import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { GrammarHost } from '../grammar-host.ts';
import { byteVocabulary, END } from '../testing/byte-vocabulary.ts';
import type { GrammarReply } from '../thread-messages.ts';

const host = new GrammarHost(byteVocabulary());

/** Whether a schema's grammar takes a text; undefined if nothing fits the schema. */
function reader(schema: object): ((text: string) => boolean) | undefined {
  const source = { kind: 'json-schema', schema: { ...schema } } as const;
  const [compiled] = host.obey([{ kind: 'compile', reply: 0, grammar: 0, source }]) as [GrammarReply];
  if ('error' in compiled) return undefined;
  return (text) => {
    const drafts = [...Buffer.from(text), END];
    const [reply] = host.obey([
      { kind: 'open', session: 0, grammar: 0, after: '' },
      { kind: 'drafts', reply: 0, session: 0, drafts },
    ]);
    return (reply as { value: unknown }).value === drafts.length;
  };
}

const bound = fc.oneof(
  fc.integer({ min: -120, max: 120 }),
  fc.integer({ min: -12_000, max: 12_000 }).map((value) => value / 100),
  fc.constantFrom(0, -0.5, 1e-10, 99.9999999999, 1e15, -1e12, 0.1, 0.30000000000000004),
);
const bounds = fc.record(
  { minimum: bound, maximum: bound, exclusiveMinimum: bound, exclusiveMaximum: bound },
  { requiredKeys: [] },
);

function fits(value: number, limits: Record<string, number | undefined>): boolean {
  const { minimum = -Infinity, maximum = Infinity } = limits;
  const { exclusiveMinimum = -Infinity, exclusiveMaximum = Infinity } = limits;
  return value >= minimum && value <= maximum && value > exclusiveMinimum && value < exclusiveMaximum;
}

describe('numbers with bounds', () => {
  it.each(['integer', 'number'] as const)('of type %s are those within, with no other way to write one', (type) => {
    fc.assert(
      fc.property(
        bounds,
        fc.array(fc.integer({ min: -30, max: 30 }), { minLength: 8, maxLength: 8 }),
        (limits, steps) => {
          if (Object.keys(limits).length === 0) return;
          const read = reader({ type, ...limits });
          // Around each bound, and a few more.
          const near = [0, 7, ...Object.values(limits)].flatMap((value) =>
            steps.flatMap((step) => [Math.round(value) + step, (Math.round(value * 1_000) + step) / 1_000]),
          );
          for (const value of near) {
            const text = JSON.stringify(value);
            if (text.includes('e') || text === '-0' || (type === 'integer' && !Number.isInteger(value))) continue;
            const isExpected = fits(value, limits);
            expect(read?.(text) ?? false, `${text} in ${JSON.stringify(limits)}`).toBe(isExpected);
            if (type === 'number' && text.includes('.')) expect(read?.(`${text}0`) ?? false, text).toBe(isExpected);
          }
          for (const text of ['01', '1.', '.5', '--1', '+1', '1e5', '-']) expect(read?.(text) ?? false).toBe(false);
        },
      ),
      { numRuns: 150, seed: 4 },
    );
  });

  it.each([
    [
      { exclusiveMinimum: 1e15, maximum: 2e15 },
      ['1000000000000000.01', '1000000000000000.0625'],
      ['1000000000000000.07'],
    ],
    [{ minimum: 1, exclusiveMaximum: 1e15 }, ['1000000000000000', '999999999999999.99'], ['999999999999999.9']],
    [{ exclusiveMinimum: -1e16, maximum: 0 }, ['-10000000000000000', '-9999999999999999.5'], ['-9999999999999998']],
    [{ exclusiveMinimum: 1e15, exclusiveMaximum: 1e15 + 0.125 }, ['1000000000000000', '1000000000000000.1'], []],
  ])('are compared as doubles where one stands for many numbers: %j', (limits, bad, good) => {
    const read = reader({ type: 'number', ...limits });
    for (const text of [...bad, ...good]) {
      expect([text, fits(Number(text), limits)]).toEqual([text, good.includes(text as never)]);
      expect([text, read?.(text) ?? false]).toEqual([text, good.includes(text as never)]);
    }
  });
});
