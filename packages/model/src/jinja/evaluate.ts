import { ROUND_STEPS, spend, spendText } from './budget.ts';
import { filterNamed, testNamed } from './filters.ts';
import { loopState } from './loop.ts';
import { attributeOf, itemOf } from './methods.ts';
import { binary, negative, slice } from './operators.ts';
import type { Call, CallStatement, For, Member, Named, Node, Parameter } from './syntax.ts';
import { str } from './text.ts';
import {
  Args,
  type Callable,
  defined,
  type Dict,
  Float,
  isNumber,
  isTrue,
  iterate,
  keyOf,
  Markup,
  Namespace,
  orElse,
  plain,
  tuple,
  spendValue,
  typeName,
  Undefined,
  type Value,
} from './value.ts';

const CONSTANTS: ReadonlyMap<string, Value> = new Map<string, Value>([
  ['true', true],
  ['True', true],
  ['false', false],
  ['False', false],
  ['none', null],
  ['None', null],
]);

/** Variables: those set here, then those around. */
export class Scope {
  readonly #own = new Map<string, Value>();
  readonly #around: Scope | undefined;
  constructor(around?: Scope) {
    this.#around = around;
  }

  get(name: string): Value {
    const value = this.#own.get(name);
    if (value !== undefined) return value;
    return this.#around ? this.#around.get(name) : new Undefined(`'${name}' is undefined`);
  }

  set(name: string, value: Value): void {
    this.#own.set(name, value);
  }
}

/** How a block ended, if not at its end. */
type Ending = 'break' | 'continue' | undefined;

/** The text of statements. */
export function render(body: readonly Node[], scope: Scope): string {
  const out: string[] = [];
  run(body, scope, out);
  return out.join('');
}

/** Runs statements, which put their text into `out`; text before a `continue` is kept. */
function run(body: readonly Node[], scope: Scope, out: string[]): Ending {
  for (const node of body) {
    const ending = runOne(node, scope, out);
    if (ending) return ending;
  }
  return undefined;
}

function runOne(node: Node, scope: Scope, out: string[]): Ending {
  spend(1);
  switch (node.type) {
    case 'If':
      return run(isTrue(evaluate(node.test, scope)) ? node.body : node.alternate, scope, out);
    case 'For':
      runFor(node, scope, out);
      return undefined;
    case 'Set':
      assign(node.assignee, node.value ? evaluate(node.value, scope) : render(node.body, scope), scope);
      return undefined;
    case 'Macro':
      scope.set(node.name.value, macro(node.args, node.body, scope));
      return undefined;
    case 'CallStatement':
      write(str(callBlock(node, scope)), out);
      return undefined;
    case 'FilterStatement':
      write(str(filtered(render(node.body, new Scope(scope)), node.filter, scope)), out);
      return undefined;
    case 'Break':
      return 'break';
    case 'Continue':
      return 'continue';
    case 'Comment':
      return undefined;
    default:
      write(str(evaluate(node, scope)), out);
      return undefined;
  }
}

function write(text: string, out: string[]): void {
  spendText(text.length);
  out.push(text);
}

function runFor({ loopvar, iterable, body, defaultBlock }: For, scope: Scope, out: string[]): void {
  const isFiltered = iterable.type === 'SelectExpression';
  const all = iterate(plain(evaluate(isFiltered ? iterable.lhs : iterable, scope)));
  const items = isFiltered
    ? all.filter((item) => isTrue(evaluate(iterable.test, withItem(scope, loopvar, item))))
    : all;
  // Jinja's `else` is for a loop in which no round came to its end.
  let isElse = true;
  const loop = loopState(items);
  for (const item of items) {
    // What one round sets, the next one doesn't see.
    const round = withItem(scope, loopvar, item);
    round.set('loop', loop.next());
    const ending = run(body, round, out);
    if (ending === 'break') break;
    if (ending === undefined) isElse = false;
  }
  if (isElse) run(defaultBlock, new Scope(scope), out);
}

function withItem(scope: Scope, target: Node, item: Value): Scope {
  spend(ROUND_STEPS);
  const inner = new Scope(scope);
  assign(target, item, inner);
  return inner;
}

function assign(target: Node, value: Value, scope: Scope): void {
  if (target.type === 'Identifier') {
    scope.set(target.value, value);
  } else if (target.type === 'TupleLiteral') {
    const items = iterate(value);
    if (items.length !== target.value.length) {
      throw new Error(`${items.length} values cannot be unpacked into ${target.value.length}`);
    }
    for (const [at, one] of target.value.entries()) assign(one, items[at]!, scope);
  } else if (target.type === 'MemberExpression' && target.property.type === 'Identifier') {
    const object = evaluate(target.object, scope);
    if (!(object instanceof Namespace)) throw new Error('cannot assign attribute on non-namespace object');
    object.attributes.set(target.property.value, value);
  } else throw new Error(`cannot assign to a ${target.type}`);
}

/** A macro sees what is set where it stands, not what is set where it is called. */
function macro(parameters: readonly Parameter[], body: readonly Node[], around: Scope): Callable {
  const names = parameters.map((one) => (one.type === 'Identifier' ? one.value : one.key.value));
  return (args) => {
    const scope = new Scope(around);
    for (const [at, name] of names.entries()) {
      scope.set(name, orElse(args.get(at, name), new Undefined(`parameter '${name}' was not provided`)));
    }
    const others = [...args.named].filter(([name]) => !names.includes(name));
    scope.set('varargs', tuple(...args.positional.slice(names.length)));
    scope.set('kwargs', new Map(others));
    const caller = args.named.get('caller');
    if (caller !== undefined) scope.set('caller', caller);
    for (const [at, one] of parameters.entries()) {
      if (one.type !== 'Identifier' && args.get(at, one.key.value) === undefined) {
        scope.set(one.key.value, evaluate(one.value, scope));
      }
    }
    return render(body, scope);
  };
}

function callBlock({ call, callerArgs, body }: CallStatement, scope: Scope): Value {
  const { positional, named } = argumentsOf(call.args, scope);
  const caller = macro(callerArgs ?? [], body, scope);
  return callable(evaluate(call.callee, scope))(new Args(positional, new Map(named).set('caller', caller)));
}

/** An expression's value. */
function evaluate(node: Node, scope: Scope): Value {
  spend(1);
  switch (node.type) {
    case 'StringLiteral':
    case 'IntegerLiteral':
      return node.value;
    case 'FloatLiteral':
      return new Float(node.value);
    case 'ArrayLiteral':
      return node.value.map((item) => plain(evaluate(item, scope)));
    case 'TupleLiteral':
      return tuple(...node.value.map((item) => evaluate(item, scope)));
    case 'ObjectLiteral': {
      const entries = [...node.value].map(
        ([key, value]) => [keyOf(evaluate(key, scope)), evaluate(value, scope)] as const,
      );
      return new Map(entries) satisfies Dict;
    }
    case 'Identifier':
      return orElse(CONSTANTS.get(node.value), scope.get(node.value));
    case 'MemberExpression':
      return member(node, scope);
    case 'CallExpression':
      return call(node, scope);
    case 'FilterExpression':
      return filtered(evaluate(node.operand, scope), node.filter, scope);
    case 'TestExpression':
      return testNamed(node.test.value)(plain(evaluate(node.operand, scope)), new Args([])) !== node.negate;
    case 'UnaryExpression':
      return unary(node.operator.value, evaluate(node.argument, scope));
    case 'BinaryExpression': {
      const left = evaluate(node.left, scope);
      const operator = node.operator.value;
      if (operator === 'and' || operator === 'or') {
        return isTrue(left) === (operator === 'or') ? left : evaluate(node.right, scope);
      }
      return binary(operator, left, evaluate(node.right, scope));
    }
    case 'Ternary':
      return evaluate(isTrue(evaluate(node.condition, scope)) ? node.trueExpr : node.falseExpr, scope);
    case 'SelectExpression':
      if (isTrue(evaluate(node.test, scope))) return evaluate(node.lhs, scope);
      return new Undefined('the inline if-expression evaluated to false and no else section was defined');
    default:
      throw new Error(`a ${node.type} cannot stand here`);
  }
}

function unary(operator: string, value: Value): Value {
  if (operator === 'not') return !isTrue(value);
  if (operator === '-') return negative(value);
  if (!isNumber(value)) throw new TypeError(`bad operand type for unary +: '${typeName(defined(value))}'`);
  return typeof value === 'boolean' ? Number(value) : value;
}

function member({ object, property, computed }: Member, scope: Scope): Value {
  const value = plain(evaluate(object, scope));
  if (!computed && property.type === 'Identifier') return attributeOf(value, property.value);
  if (property.type !== 'SliceExpression') return itemOf(value, evaluate(property, scope));
  const bounds = [property.start, property.stop, property.step];
  return slice(
    value,
    bounds.map((bound) => bound && evaluate(bound, scope)),
  );
}

function call({ callee, args }: Call, scope: Scope): Value {
  const target = evaluate(callee, scope);
  return callable(target)(argumentsOf(args, scope));
}

function callable(target: Value): Callable {
  if (typeof defined(target) === 'function') return target as Callable;
  throw new TypeError(`'${typeName(target)}' object is not callable`);
}

function argumentsOf(nodes: readonly Node[], scope: Scope): Args {
  const positional: Value[] = [];
  const named = new Map<string, Value>();
  for (const node of nodes) {
    if (node.type === 'KeywordArgumentExpression') named.set(node.key.value, plain(evaluate(node.value, scope)));
    else if (node.type === 'SpreadExpression') positional.push(...iterate(evaluate(node.argument, scope)));
    else if (node.type === 'KeywordSpreadExpression') {
      const dict = evaluate(node.argument, scope);
      if (!(dict instanceof Map)) throw new TypeError(`argument after ** must be a mapping, not ${typeName(dict)}`);
      for (const [key, value] of dict) named.set(String(key), value);
    } else positional.push(plain(evaluate(node, scope)));
  }
  return new Args(positional, named);
}

function filtered(value: Value, filter: Named, scope: Scope): Value {
  const name = filter.type === 'Identifier' ? filter : filter.callee;
  if (name.type !== 'Identifier') throw new Error('a filter must have a name');
  const args = filter.type === 'Identifier' ? new Args([]) : argumentsOf(filter.args, scope);
  // Safe text is one for `+` alone: what else is done with it gives ordinary text.
  if (name.value === 'safe' || (name.value === 'string' && value instanceof Markup)) return new Markup(str(value));
  const operand = plain(value);
  const test = /^is (not )?(\w+)$/.exec(name.value);
  if (test) return testNamed(test[2]!)(operand, args) === !test[1];
  spendValue(operand);
  const result = filterNamed(name.value)(operand, args);
  spendValue(result);
  return result;
}
