import { joinTexts, repeatText, spend, spendItems, spendText } from './budget.ts';
import { printf } from './format.ts';
import { str } from './text.ts';
import {
  characters,
  compare,
  contains,
  defined,
  equal,
  Float,
  int,
  isNumber,
  Markup,
  MAX_DIGITS,
  numeric,
  plain,
  Tuple,
  tuple,
  typeName,
  type Value,
} from './value.ts';

/** A binary operator's result; `and` and `or` are not among them. */
export function binary(operator: string, left: Value, right: Value): Value {
  spend(1);
  if (operator === '+' && (left instanceof Markup || right instanceof Markup)) return joined(left, right);
  return ofPlain(operator, plain(left), plain(right));
}

function ofPlain(operator: string, left: Value, right: Value): Value {
  switch (operator) {
    case '~':
      return concat(str(left), str(right));
    case '==':
      return equal(left, right);
    case '!=':
      return !equal(left, right);
    case '<':
      return compare(left, right) < 0;
    case '<=':
      return compare(left, right) <= 0;
    case '>':
      return compare(left, right) > 0;
    case '>=':
      return compare(left, right) >= 0;
    case 'in':
      return contains(right, left);
    case 'not in':
      return !contains(right, left);
  }
  return arithmetic(operator, defined(left), defined(right));
}

/** JavaScript keeps both texts and copies neither, so that a long text grows by short ones at their cost. */
function concat(left: string, right: string): string {
  spendText(Math.min(left.length, right.length));
  return left + right;
}

const ESCAPES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', "'": '&#39;', '"': '&#34;' };

/** Safe text is joined to other text only after that was escaped, even where nothing else is, as here. */
function joined(...sides: Value[]): Markup {
  const texts = sides.map((side) => {
    if (side instanceof Markup) return side.text;
    if (typeof side === 'string') return side.replace(/[&<>'"]/g, (one) => ESCAPES[one]!);
    throw new TypeError(`unsupported operand type for +: '${typeName(defined(side))}'`);
  });
  return new Markup(joinTexts(texts));
}

function arithmetic(operator: string, left: Value, right: Value): Value {
  if (isNumber(left) && isNumber(right)) {
    const isFloat = left instanceof Float || right instanceof Float || operator === '/';
    const [a, b] = [numeric(left), numeric(right)];
    if ('/%'.includes(operator[0]!) && Number(b) === 0) throw new Error('division by zero');
    return isFloat ? new Float(ofFloats(operator, Number(a), Number(b))) : ofInts(operator, BigInt(a), BigInt(b));
  }
  if (operator === '+') {
    if (typeof left === 'string' && typeof right === 'string') return concat(left, right);
    if (Array.isArray(left) && Array.isArray(right) && typeName(left) === typeName(right)) {
      spendItems(left.length + right.length);
      return left instanceof Tuple ? tuple(...left, ...right) : [...left, ...right];
    }
  }
  if (operator === '%' && typeof left === 'string')
    return printf(left, right instanceof Tuple || right instanceof Map ? right : [right]);
  if (operator === '*') {
    const [many, count] = typeof right === 'number' ? [left, right] : [right, left];
    if (typeof count === 'number' && typeof many === 'string') return repeatText(many, count);
    if (typeof count === 'number' && typeName(many) === 'list') {
      spendItems(Math.max(1, (many as Value[]).length) * count);
      return Array.from({ length: Math.max(0, count) }, () => many as Value[]).flat();
    }
  }
  throw new TypeError(`unsupported operand type(s) for ${operator}: '${typeName(left)}' and '${typeName(right)}'`);
}

function ofFloats(operator: string, a: number, b: number): number {
  switch (operator) {
    case '+':
      return a + b;
    case '-':
      return a - b;
    case '*':
      return a * b;
    case '/':
      return a / b;
    case '//':
      return Math.floor(a / b);
    case '**':
      return a ** b;
    default:
      // Python's remainder has the sign of the divisor.
      return a - b * Math.floor(a / b);
  }
}

function ofInts(operator: string, a: bigint, b: bigint): Value {
  // BigInt's quotient is cut towards zero, Python's is the floor.
  const floor = (): bigint => a / b - (a % b !== 0n && a < 0n !== b < 0n ? 1n : 0n);
  switch (operator) {
    case '+':
      return int(a + b);
    case '-':
      return int(a - b);
    case '*':
      return int(a * b);
    case '//':
      return int(floor());
    case '**':
      if (b < 0n) return new Float(Number(a) ** Number(b));
      return int(power(a, b));
    default:
      return int(a - b * floor());
  }
}

function power(a: bigint, b: bigint): bigint {
  const most = BigInt(MAX_DIGITS);
  // A number of n hexadecimal digits is at least 16 ** (n − 1).
  const digits = BigInt(a.toString(16).replace('-', '').length - 1) * b;
  if (digits > most || (b > 4n * most && a * a > 1n)) throw new Error('the power is too large');
  return a ** b;
}

export function negative(value: Value): Value {
  if (value instanceof Float) return new Float(-value.value);
  if (!isNumber(value)) throw new TypeError(`bad operand type for unary -: '${typeName(defined(value))}'`);
  return int(-BigInt(numeric(value)));
}

/** Python's `values[start:stop:step]`. */
export function slice(value: Value, bounds: readonly (Value | undefined)[]): Value {
  const [start, stop, step = 1] = bounds.map((bound) => (bound === null ? undefined : bound)) as (number | undefined)[];
  if (typeof value === 'string') return part(characters(value), start, stop, step).join('');
  if (!Array.isArray(value)) throw new TypeError(`'${typeName(defined(value))}' object is not subscriptable`);
  spendItems(value.length);
  const items = part(value, start, stop, step);
  return value instanceof Tuple ? tuple(...items) : items;
}

function part<T>(all: readonly T[], start: number | undefined, stop: number | undefined, step: number): T[] {
  if (step === 0) throw new Error('slice step cannot be zero');
  const [least, most] = step > 0 ? [0, all.length] : [-1, all.length - 1];
  const within = (bound: number): number => Math.min(Math.max(bound < 0 ? bound + all.length : bound, least), most);
  const first = start === undefined ? (step > 0 ? least : most) : within(start);
  const end = stop === undefined ? (step > 0 ? most : least) : within(stop);
  const items: T[] = [];
  for (let at = first; step > 0 ? at < end : at > end; at += step) items.push(all[at]!);
  return items;
}
