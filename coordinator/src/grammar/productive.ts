import type { Expression } from './expression.ts';
import { WorkBudget } from './grammar-error.ts';

/** Parts of an expression, and their parts, that are looked at: about 0.1 s. A program may have fewer instructions. */
const MAX_PARTS = 500_000;

/**
 * The parts of an expression that some finite text fits. All others are left out of programs, so that no answer can run into one
 * and not end. Each is looked at once, and again when one of its own parts was found to be fitting.
 */
export function productiveParts(root: Expression): ReadonlySet<Expression> {
  const productive = new Set<Expression>();
  /** How many more of its parts have to fit. */
  const missing = new Map<Expression, number>();
  const wholes = new Map<Expression, Expression[]>();
  const fitting: Expression[] = [];
  const budget = new WorkBudget(MAX_PARTS, 'parts in all');
  const open = [root];
  for (let expression = open.pop(); expression; expression = open.pop()) {
    if (missing.has(expression)) continue;
    const { parts, needed } = needsOf(expression);
    budget.spend(1 + parts.length);
    missing.set(expression, needed);
    if (needed === 0) fitting.push(expression);
    for (const part of parts) {
      const known = wholes.get(part);
      if (known) known.push(expression);
      else wholes.set(part, [expression]);
      open.push(part);
    }
  }
  for (let part = fitting.pop(); part; part = fitting.pop()) {
    productive.add(part);
    for (const whole of wholes.get(part) ?? []) {
      const left = missing.get(whole)! - 1;
      missing.set(whole, left);
      if (left === 0) fitting.push(whole);
    }
  }
  return productive;
}

/** Its parts, and how many of them have to fit for the whole to fit. */
function needsOf(expression: Expression): { parts: readonly Expression[]; needed: number } {
  switch (expression.kind) {
    case 'text':
    case 'token':
      return { parts: [], needed: 0 };
    case 'chars': {
      const isPossible = expression.ranges.some(([first, last]) => first <= last && (first < 0xd800 || last > 0xdfff));
      return { parts: [], needed: isPossible ? 0 : 1 };
    }
    case 'sequence':
      return { parts: expression.parts, needed: expression.parts.length };
    case 'choice':
      return { parts: expression.options, needed: 1 };
    case 'repeat':
      return { parts: [expression.part], needed: expression.least === 0 ? 0 : 1 };
    case 'rule':
      return { parts: expression.rule.body ? [expression.rule.body] : [], needed: 1 };
  }
}
