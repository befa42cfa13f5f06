import { spend, spendItems, spendText } from './budget.ts';

/**
 * Python's values, as chat templates see them. Python's `str`, `bool`, `None` and `list` are JavaScript's `string`, `boolean`,
 * `null` and `Array`; an `int` is an integral `number`, or a `bigint` beyond the safe integers; a `dict` is a `Map`.
 */
export type Value =
  | string
  | boolean
  | null
  | number
  | bigint
  | Float
  | Value[]
  | Dict
  | Undefined
  | Markup
  | Generator
  | Namespace
  | Callable;

/** A float that is integral goes to its number, as in Python, where 1 and 1.0 are the same key. */
export type Key = string | boolean | null | number | bigint;
export type Dict = Map<Key, Value>;
export type Callable = (args: Args) => Value;

/** A Python `float`, so that 1.0 is not taken for 1. */
export class Float {
  readonly value: number;
  constructor(value: number) {
    this.value = value;
  }
}

/** Arrays that are no Python lists; `map` and the like make plain arrays of them. */
abstract class ArrayKind extends Array<Value> {
  static override get [Symbol.species](): ArrayConstructor {
    return Array;
  }
}

export class Tuple extends ArrayKind {}

/** What a dict's `keys()`, `values()` and `items()` return. */
export class View extends ArrayKind {
  kind = 'dict_items';
}

export function tuple(...items: Value[]): Tuple {
  const result = new Tuple();
  for (const item of items) result.push(item);
  return result;
}

export function view(kind: string, items: Iterable<Value>): View {
  const result = new View();
  for (const item of items) result.push(item);
  result.kind = kind;
  return result;
}

/** What filters such as `map` return: always true, without a length, and empty after it was read once. */
export class Generator {
  #items: Value[];
  constructor(items: Value[]) {
    this.#items = items;
  }

  take(): Value[] {
    const items = this.#items;
    this.#items = [];
    return items;
  }
}

/** A variable, key or attribute that isn't there. */
export class Undefined {
  readonly why: string;
  constructor(why: string) {
    this.why = why;
  }
}

/** Text that the filter `safe` has marked. */
export class Markup {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

export const plain = (value: Value): Value => (value instanceof Markup ? value.text : value);

/** What `namespace()` returns, and what `loop` is: attributes without a dict's methods. */
export class Namespace {
  readonly attributes: Map<string, Value>;
  constructor(attributes: Map<string, Value>) {
    this.attributes = attributes;
  }
}

/** What a function, filter or method was given. */
export class Args {
  readonly positional: readonly Value[];
  readonly named: ReadonlyMap<string, Value>;
  constructor(positional: readonly Value[], named: ReadonlyMap<string, Value> = new Map()) {
    this.positional = positional;
    this.named = named;
  }

  /** The argument at a place or, where it has one, of a name. */
  get(at: number, name?: string): Value | undefined {
    if (at < this.positional.length) return this.positional[at];
    return name === undefined ? undefined : this.named.get(name);
  }

  /** An argument that must be there. */
  need(at: number, name: string): Value {
    const value = this.get(at, name);
    if (value === undefined) throw new TypeError(`missing a required argument: '${name}'`);
    return value;
  }

  text(at: number, name: string): string {
    return expectText(this.need(at, name));
  }

  /** A whole number; `otherwise` where it is absent or None. */
  int(at: number, name: string, otherwise: number): number {
    const value = this.get(at, name) ?? null;
    return value === null ? otherwise : expectInt(value);
  }

  flag(at: number, name: string): boolean {
    return isTrue(this.get(at, name) ?? false);
  }
}

export function expectText(value: Value): string {
  if (typeof value === 'string') return value;
  throw new TypeError(`expected a str, not ${typeName(value)}`);
}

export function expectInt(value: Value): number {
  if (typeof value === 'number') return value;
  if (typeof value === 'boolean') return Number(value);
  if (typeof value === 'bigint') return Number(value);
  throw new TypeError(`expected an int, not ${typeName(value)}`);
}

/** A value of JavaScript for a template; one of `parseJsonValue` stays. Throws a RangeError for one that goes too deep. */
export function fromJs(input: unknown): Value {
  if (input === undefined) return new Undefined('a variable is undefined');
  if (input === null || typeof input === 'string' || typeof input === 'boolean') return input;
  if (typeof input === 'bigint' || input instanceof Float) return input;
  if (typeof input === 'number') return fromNumber(input);
  if (Array.isArray(input)) return input.map(fromJs);
  if (input instanceof Map) return input as Dict;
  if (typeof input === 'function') return input as Callable;
  if (typeof input !== 'object') throw new TypeError(`a template cannot take a ${typeof input}`);
  const dict: Dict = new Map();
  // As JSON has it: what is undefined is not there.
  for (const [key, value] of Object.entries(input)) if (value !== undefined) dict.set(key, fromJs(value));
  return dict;
}

/** JavaScript's parser has made 1 of 1.0; beyond 1e21 it writes a number with an exponent, which only floats have. */
function fromNumber(input: number): Value {
  if (Number.isSafeInteger(input)) return input;
  return Number.isInteger(input) && Math.abs(input) < 1e21 ? BigInt(input) : new Float(input);
}

/** Python writes and reads no ints of more digits, which take a time that is the square of their number. */
export const MAX_DIGITS = 4_300;
const MOST = 10n ** BigInt(MAX_DIGITS);

/** An int from a result that may be beyond the safe integers. */
export function int(value: bigint): number | bigint {
  const number = Number(value);
  if (Number.isSafeInteger(number)) return number;
  if (value >= MOST || value <= -MOST) throw new Error(`an int of more than ${MAX_DIGITS} digits`);
  return value;
}

export const isNumber = (value: Value): value is number | bigint | boolean | Float =>
  typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean' || value instanceof Float;

/** For comparisons, which JavaScript makes exactly between a `number` and a `bigint`. */
export const numeric = (value: number | bigint | boolean | Float): number | bigint =>
  value instanceof Float ? value.value : typeof value === 'boolean' ? Number(value) : value;

export function typeName(value: Value): string {
  if (value === null) return 'NoneType';
  if (value instanceof Float) return 'float';
  if (value instanceof Tuple) return 'tuple';
  if (value instanceof View) return value.kind;
  if (Array.isArray(value)) return 'list';
  if (value instanceof Map) return 'dict';
  if (value instanceof Undefined) return 'Undefined';
  if (value instanceof Generator) return 'generator';
  if (value instanceof Markup) return 'Markup';
  if (value instanceof Namespace) return 'Namespace';
  const names = { string: 'str', boolean: 'bool', number: 'int', bigint: 'int', function: 'function' };
  return names[typeof value as keyof typeof names];
}

export function isTrue(value: Value): boolean {
  if (value instanceof Float) return value.value !== 0;
  if (Array.isArray(value)) return value.length > 0;
  if (value instanceof Map) return value.size > 0;
  if (value instanceof Undefined) return false;
  if (value instanceof Markup) return value.text !== '';
  return Boolean(value);
}

export function keyOf(value: Value): Key {
  if (value instanceof Float) return value.value;
  if (value === null || ['string', 'boolean', 'number', 'bigint'].includes(typeof value)) return value as Key;
  throw new TypeError(`unhashable type: '${typeName(value)}'`);
}

export const fromKey = (key: Key): Value => (typeof key === 'number' && !Number.isInteger(key) ? new Float(key) : key);

/** A text's characters, which for Python are code points. */
export function characters(text: string): string[] {
  spendItems(text.length);
  return Array.from(text);
}

/** For a value that is made of others, or that others are made of. */
export function spendValue(value: Value): void {
  if (typeof value === 'string') spendText(value.length);
  else if (Array.isArray(value)) spendItems(value.length);
  else if (value instanceof Map) spendItems(value.size);
  else if (value instanceof Markup) spendText(value.text.length);
}

/** What a `for` goes over. */
export function iterate(value: Value): Value[] {
  if (typeof value === 'string') return characters(value);
  spendValue(value);
  if (Array.isArray(value)) return value;
  if (value instanceof Map) return [...value.keys()].map(fromKey);
  if (value instanceof Generator) return value.take();
  if (value instanceof Undefined) return [];
  throw new TypeError(`'${typeName(value)}' object is not iterable`);
}

/** Python's `len`. */
export function lengthOf(value: Value): number {
  if (typeof value === 'string') return characters(value).length;
  if (Array.isArray(value)) return value.length;
  if (value instanceof Map) return value.size;
  if (value instanceof Undefined) return 0;
  throw new TypeError(`object of type '${typeName(value)}' has no len()`);
}

/** Python's `==`. */
export function equal(a: Value, b: Value): boolean {
  spend(1);
  // oxlint-disable-next-line eqeqeq -- the loose comparison is exact between a number and a bigint
  if (isNumber(a) && isNumber(b)) return numeric(a) == numeric(b);
  if (Array.isArray(a) && Array.isArray(b)) {
    return typeName(a) === typeName(b) && a.length === b.length && a.every((item, at) => equal(item, b[at]!));
  }
  if (a instanceof Map && b instanceof Map) {
    return a.size === b.size && [...a].every(([key, item]) => b.has(key) && equal(item, b.get(key)!));
  }
  if (typeof a === 'string' && typeof b === 'string') spendText(Math.min(a.length, b.length));
  return a === b || (a instanceof Undefined && b instanceof Undefined);
}

/** Negative, 0 or positive, as Python orders two values. Throws a TypeError where it has no order. */
export function compare(a: Value, b: Value): number {
  spend(1);
  if (isNumber(a) && isNumber(b)) {
    const [x, y] = [numeric(a), numeric(b)];
    return x < y ? -1 : x > y ? 1 : 0;
  }
  if (typeof a === 'string' && typeof b === 'string') return compareTexts(a, b);
  if (Array.isArray(a) && Array.isArray(b) && typeName(a) === typeName(b)) {
    for (let at = 0; at < Math.min(a.length, b.length); at++) {
      if (!equal(a[at]!, b[at]!)) return compare(a[at]!, b[at]!);
    }
    return a.length - b.length;
  }
  defined(a);
  defined(b);
  throw new TypeError(`'<' not supported between instances of '${typeName(a)}' and '${typeName(b)}'`);
}

/** By code points: a character of two UTF-16 units comes after all others. */
function compareTexts(a: string, b: string): number {
  spendItems(Math.min(a.length, b.length));
  for (let at = 0; at < Math.min(a.length, b.length); at++) {
    if (a[at] !== b[at]) return a.codePointAt(at)! - b.codePointAt(at)!;
  }
  return a.length - b.length;
}

/** Python's `in`. */
export function contains(all: Value, item: Value): boolean {
  spendValue(all);
  if (typeof all === 'string') {
    if (typeof item === 'string') return all.includes(item);
    throw new TypeError(`'in <string>' requires string as left operand, not ${typeName(item)}`);
  }
  if (all instanceof Map) return all.has(keyOf(item));
  return iterate(all).some((one) => equal(one, item));
}

/** A value, or another where there is none; `??` would take the other for None too. */
export const orElse = (value: Value | undefined, otherwise: Value): Value => (value === undefined ? otherwise : value);

/** Throws what Jinja does where a value is used that isn't there. */
export function defined<T extends Value>(value: T): Exclude<T, Undefined> {
  if (value instanceof Undefined) throw new Error(value.why);
  return value as Exclude<T, Undefined>;
}
