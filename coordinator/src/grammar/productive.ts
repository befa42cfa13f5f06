import type { Expression, Rule } from './expression.ts';

/** Rules that some finite text fits. All others are left out of programs, so that no answer can run into one and not end. */
export function productiveRules(root: Expression): ReadonlySet<Rule> {
  const { rules, callers } = rulesOf(root);
  const productive = new Set<Rule>();
  const open = new Set(rules);
  for (const rule of open) {
    open.delete(rule);
    if (productive.has(rule) || !rule.body || !isProductive(rule.body, productive)) continue;
    productive.add(rule);
    // Looked at again, at the end.
    for (const caller of callers.get(rule) ?? []) if (!productive.has(caller)) open.add(caller);
  }
  return productive;
}

/** Whether some finite text fits it, if that is so for the given rules. */
export function isProductive(expression: Expression, productive: ReadonlySet<Rule>): boolean {
  switch (expression.kind) {
    case 'text':
    case 'token':
      return true;
    case 'chars':
      return expression.ranges.some(([first, last]) => first <= last && (first < 0xd800 || last > 0xdfff));
    case 'sequence':
      return expression.parts.every((part) => isProductive(part, productive));
    case 'choice':
      return expression.options.some((option) => isProductive(option, productive));
    case 'repeat':
      return expression.least === 0 || isProductive(expression.part, productive);
    case 'rule':
      return productive.has(expression.rule);
  }
}

/** All rules that can be reached, the innermost last, and which rules call each. */
function rulesOf(root: Expression): { rules: Rule[]; callers: Map<Rule, Set<Rule>> } {
  const callers = new Map<Rule, Set<Rule>>();
  const found = new Set<Rule>();
  const open: { expression: Expression; rule?: Rule }[] = [{ expression: root }];
  for (let entry = open.pop(); entry; entry = open.pop()) {
    const { expression, rule } = entry;
    if (expression.kind === 'sequence') for (const part of expression.parts) open.push({ ...entry, expression: part });
    if (expression.kind === 'choice')
      for (const option of expression.options) open.push({ ...entry, expression: option });
    if (expression.kind === 'repeat') open.push({ ...entry, expression: expression.part });
    if (expression.kind !== 'rule') continue;
    const called = expression.rule;
    if (rule) callers.set(called, (callers.get(called) ?? new Set()).add(rule));
    if (found.has(called)) continue;
    found.add(called);
    if (called.body) open.push({ expression: called.body, rule: called });
  }
  return { rules: [...found].reverse(), callers };
}
