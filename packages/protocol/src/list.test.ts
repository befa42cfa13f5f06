import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { isList, list } from './list.ts';

/** Counts how many values a schema looks at. */
function counting<T extends z.ZodType>(schema: T): { element: z.ZodPipe<z.ZodTransform, T>; count: () => number } {
  let looked = 0;
  const element = z.preprocess((value) => {
    looked++;
    return value;
  }, schema);
  return { element: element as never, count: () => looked };
}

describe('list', () => {
  it('accepts what z.array accepts, and parses its elements', () => {
    const element = z.object({ n: z.number().default(3) });
    const values = [{ n: 1 }, { extra: true }];
    expect(list(element).parse(values)).toEqual(z.array(element).parse(values));
    expect(list(element).min(1).max(2).nullish().parse(values)).toEqual([{ n: 1 }, { n: 3 }]);
    expect(z.toJSONSchema(list(z.string()).max(4))).toEqual(z.toJSONSchema(z.array(z.string()).max(4)));
  });

  it('says of the first fault what z.array says', () => {
    const element = z.strictObject({ role: z.enum(['a', 'b']), parts: list(z.number().min(0)).min(1) });
    for (const wrong of [{}, { role: 'a', parts: [] }, { role: 'a', parts: [1, -1] }, { role: 'c', parts: [1] }, 5]) {
      const values = [{ role: 'a', parts: [1] }, wrong];
      const [first] = z.array(element).safeParse(values).error!.issues;
      expect(list(element).safeParse(values).error!.issues[0]).toEqual(first);
    }
    expect(list(element).safeParse('text').error!.issues).toEqual(z.array(element).safeParse('text').error!.issues);
  });

  it('looks at nothing behind the first fault, whether zod goes on after such a fault or not', () => {
    const faults: [z.ZodType, unknown][] = [
      [z.number(), 'text'],
      [z.number().min(0), -1],
      [z.strictObject({}), { unknown: 1 }],
      [list(z.number()).min(1), []],
    ];
    for (const [schema, wrong] of faults) {
      const { element, count } = counting(schema);
      const { issues } = list(element).safeParse(Array(100_000).fill(wrong)).error!;
      expect([issues.length, count()]).toEqual([1, 1]);
    }
  });

  it('looks at no element of a list that is too long', () => {
    const { element, count } = counting(z.string());
    const { issues } = list(element).min(1).max(4).safeParse(Array(100_000).fill('a')).error!;
    expect(issues).toMatchObject([{ code: 'too_big', maximum: 4 }]);
    expect(count()).toBe(0);
  });

  it('can be told from an array', () => {
    expect([isList(list(z.string()).max(3)), isList(z.array(z.string()))]).toEqual([true, false]);
  });
});
