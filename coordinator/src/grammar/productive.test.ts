import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { call, choice, type Expression, repeat, type Rule, sequence, text } from './expression.ts';
import { productiveParts } from './productive.ts';

/** By the definition, over and over until nothing changes. */
function fits(expression: Expression, rules: ReadonlySet<Rule>): boolean {
  switch (expression.kind) {
    case 'sequence':
      return expression.parts.every((part) => fits(part, rules));
    case 'choice':
      return expression.options.some((option) => fits(option, rules));
    case 'repeat':
      return expression.least === 0 || fits(expression.part, rules);
    case 'rule':
      return rules.has(expression.rule);
    default:
      return true;
  }
}

describe('the parts that some finite text fits', () => {
  it('are those by the definition', () => {
    const RULES = 6;
    const rules = Array.from({ length: RULES }, (_, index): Rule => ({ name: `${index}` }));
    const { any } = fc.letrec<{ any: Expression }>((tie) => ({
      any: fc.oneof(
        { maxDepth: 3, withCrossShrink: true },
        fc.nat(RULES - 1).map((index) => call(rules[index]!)),
        fc.constant(text('a')),
        fc.array(tie('any'), { maxLength: 3 }).map((parts) => sequence(...parts)),
        fc.array(tie('any'), { maxLength: 3 }).map((options) => choice(...options)),
        fc.tuple(tie('any'), fc.nat(2)).map(([part, least]) => repeat(part, least, 3)),
      ),
    }));
    fc.assert(
      fc.property(fc.array(any, { minLength: RULES, maxLength: RULES }), (bodies) => {
        for (const [index, rule] of rules.entries()) rule.body = bodies[index]!;
        const fitting = new Set<Rule>();
        for (let size = -1; size < fitting.size;) {
          size = fitting.size;
          for (const rule of rules) if (fits(rule.body!, fitting)) fitting.add(rule);
        }
        const productive = productiveParts(sequence(...bodies, text('')));
        for (const body of bodies) expect(productive.has(body)).toBe(fits(body, fitting));
      }),
      { numRuns: 500, seed: 3 },
    );
  });

  it('are found by looking at each once, in whatever order the rules come', () => {
    const COUNT = 2_000;
    const rules = Array.from({ length: COUNT }, (_, index): Rule => ({ name: `${index}` }));
    for (const [index, rule] of rules.entries())
      rule.body = index === COUNT - 1 ? text('x') : sequence(text('x'), call(rules[index + 1]!));
    let looks = 0;
    const all = (order: readonly Rule[]): Expression => ({
      kind: 'sequence',
      get parts() {
        looks++;
        return order.map(call);
      },
    });
    const root = choice(all(rules), all(rules.toReversed()));
    expect(productiveParts(root).has(root)).toBe(true);
    expect(looks).toBeLessThan(10);
  });
});
