import { call, chars, commonRanges, type Expression, otherRanges, type Rule } from './expression.ts';

/** What fits an expression without a character, where that is one of several that may come. */
export function without(root: Expression, point: number): Expression {
  const allowed = otherRanges([[point, point]]);
  const copies = new Map<Rule, Rule>();
  const copyOf = (rule: Rule): Rule => {
    const copy = copies.get(rule) ?? { name: rule.name };
    copies.set(rule, copy);
    return copy;
  };
  const limited = (expression: Expression): Expression => {
    switch (expression.kind) {
      case 'chars':
        return chars(...commonRanges(expression.ranges, allowed));
      case 'sequence':
        return { ...expression, parts: expression.parts.map(limited) };
      case 'choice':
        return { ...expression, options: expression.options.map(limited) };
      case 'repeat':
        return { ...expression, part: limited(expression.part) };
      case 'rule':
        return call(copyOf(expression.rule));
      default:
        return expression;
    }
  };
  const result = limited(root);
  // Rules are added while others are copied.
  for (const [rule, copy] of copies) if (rule.body) copy.body = limited(rule.body);
  return result;
}
