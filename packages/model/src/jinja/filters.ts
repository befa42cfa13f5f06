import { joinTexts, repeatText, spend } from './budget.ts';
import { printf } from './format.ts';
import { attributeOf, capitalized, items, itemOf, replace, strip } from './methods.ts';
import { binary } from './operators.ts';
import { type JsonStyle, str, toJson } from './text.ts';
import { TESTS } from './tests.ts';
import {
  Args,
  characters,
  compare,
  equal,
  expectText,
  Float,
  Generator,
  isNumber,
  isTrue,
  iterate,
  keyOf,
  lengthOf,
  MAX_DIGITS,
  numeric,
  orElse,
  tuple,
  typeName,
  Undefined,
  type Value,
  int,
} from './value.ts';

export type Filter = (value: Value, args: Args) => Value;

/** A list's item, or an attribute of an attribute: 'function.name', 0. */
function reader(attribute: Value): (item: Value) => Value {
  const path = typeof attribute === 'string' ? attribute.split('.') : [attribute];
  return (item) =>
    path.reduce<Value>((value, part) => {
      spend(1);
      return itemOf(value, typeof part === 'string' && /^\d+$/.test(part) ? Number(part) : part);
    }, item);
}

/** What values are compared by: texts without their case, if it isn't asked for. */
function comparable(args: Args, caseAt: number, attributeAt: number): (item: Value) => Value {
  const attribute = args.get(attributeAt, 'attribute') ?? null;
  const read = attribute === null ? (item: Value) => item : reader(attribute);
  const isExact = args.flag(caseAt, 'case_sensitive');
  return (item) => {
    const value = read(item);
    return typeof value === 'string' && !isExact ? value.toLowerCase() : value;
  };
}

function sort(value: Value, args: Args): Value {
  const key = comparable(args, 1, 2);
  const sign = args.flag(0, 'reverse') ? -1 : 1;
  return [...iterate(value)].sort((a, b) => sign * compare(key(a), key(b)));
}

function extreme(sign: number): Filter {
  return (value, args) => {
    const key = comparable(args, 0, 1);
    const [first, ...rest] = iterate(value);
    if (first === undefined) return new Undefined('No aggregated item, sequence was empty.');
    return rest.reduce((best, item) => (sign * compare(key(item), key(best)) > 0 ? item : best), first);
  };
}

function unique(value: Value, args: Args): Value {
  const key = comparable(args, 0, 1);
  const seen = new Set<unknown>();
  return new Generator(
    iterate(value).filter((item) => {
      const one = keyOf(key(item));
      return !seen.has(one) && seen.add(one);
    }),
  );
}

/** Filters that choose and map take anything false for an empty list. */
const itemsOrNone = (value: Value): Value[] => (isTrue(value) ? iterate(value) : []);

/** The rest of a filter's arguments, for the filter or the test that it names. */
const after = (args: Args, count: number): Args => new Args(args.positional.slice(count), args.named);

function choosing(isKept: boolean, hasAttribute: boolean): Filter {
  return (value, args) => {
    const read = hasAttribute ? reader(args.need(0, 'attribute')) : (item: Value) => item;
    const name = args.get(hasAttribute ? 1 : 0);
    const rest = after(args, hasAttribute ? 2 : 1);
    const test = name === undefined ? (item: Value) => isTrue(item) : testNamed(expectText(name));
    return new Generator(itemsOrNone(value).filter((item) => test(read(item), rest) === isKept));
  };
}

export function testNamed(name: string): (value: Value, args: Args) => boolean {
  if (!Object.hasOwn(TESTS, name)) throw new Error(`No test named '${name}'.`);
  return TESTS[name]!;
}

export function filterNamed(name: string): Filter {
  if (!Object.hasOwn(FILTERS, name)) throw new Error(`No filter named '${name}'.`);
  return FILTERS[name]!;
}

function map(value: Value, args: Args): Value {
  const attribute = args.named.get('attribute');
  if (attribute === undefined) {
    const filter = filterNamed(args.text(0, 'filter'));
    return new Generator(itemsOrNone(value).map((item) => filter(item, after(args, 1))));
  }
  const read = reader(attribute);
  const otherwise = args.named.get('default');
  return new Generator(
    itemsOrNone(value).map((item) => {
      const found = read(item);
      return found instanceof Undefined && otherwise !== undefined ? otherwise : found;
    }),
  );
}

function dictsort(value: Value, args: Args): Value {
  if (!(value instanceof Map)) throw new TypeError(`a ${typeName(value)} has no items`);
  const by = args.get(1, 'by') === 'value' ? 1 : 0;
  const isExact = args.flag(0, 'case_sensitive');
  const key = (pair: Value): Value => {
    const part = (pair as Value[])[by]!;
    return typeof part === 'string' && !isExact ? part.toLowerCase() : part;
  };
  const sign = args.flag(2, 'reverse') ? -1 : 1;
  return [...iterate(items(value))].sort((a, b) => sign * compare(key(a), key(b)));
}

function groupby(value: Value, args: Args): Value {
  const read = reader(args.need(0, 'attribute'));
  const groups: [Value, Value[]][] = [];
  for (const item of [...iterate(value)].sort((a, b) => compare(read(a), read(b)))) {
    const group = groups.at(-1);
    if (group && equal(group[0], read(item))) group[1].push(item);
    else groups.push([read(item), [item]]);
  }
  return groups.map(([key, members]) => tuple(key, members));
}

function tojson(value: Value, args: Args): Value {
  const indent = args.get(1, 'indent') ?? null;
  const separators = args.get(2, 'separators') ?? null;
  const style: JsonStyle = {
    ensureAscii: args.flag(0, 'ensure_ascii'),
    indent:
      indent === null ? undefined : typeof indent === 'string' ? indent : repeatText(' ', args.int(1, 'indent', 0)),
    separators: separators === null ? undefined : (iterate(separators).map(expectText) as [string, string]),
    sortKeys: args.flag(3, 'sort_keys'),
  };
  return toJson(value, style);
}

function indent(value: Value, args: Args): Value {
  const width = args.get(0, 'width') ?? 4;
  const margin = typeof width === 'string' ? width : repeatText(' ', args.int(0, 'width', 4));
  const [first = '', ...rest] = str(value).split(/\r\n|[\n\r]/);
  const isBlankToo = args.flag(2, 'blank');
  const lines = rest.map((line) => (line !== '' || isBlankToo ? margin + line : line));
  return joinTexts([args.flag(1, 'first') ? margin + first : first, ...lines], '\n');
}

function toInt(value: Value, args: Args): Value {
  const otherwise = orElse(args.get(0, 'default'), 0);
  if (typeof value === 'string') {
    const text = strip(value);
    if (text.length <= MAX_DIGITS && /^[+-]?\d+(_\d+)*$/.test(text))
      return int(BigInt(text.replaceAll('_', '').replace(/^\+/, '')));
    const number = text === '' ? Number.NaN : Number(text);
    return Number.isFinite(number) ? int(BigInt(Math.trunc(number))) : otherwise;
  }
  if (!isNumber(value)) return otherwise;
  const number = numeric(value);
  if (typeof number === 'bigint') return number;
  return Number.isFinite(number) ? int(BigInt(Math.trunc(number))) : otherwise;
}

function toFloat(value: Value, args: Args): Value {
  const text = typeof value === 'string' ? strip(value) : '';
  const number = isNumber(value) ? Number(numeric(value)) : text === '' ? Number.NaN : Number(text);
  return Number.isNaN(number) && text !== 'nan' ? orElse(args.get(0, 'default'), new Float(0)) : new Float(number);
}

/** To the even neighbour where two are as near, as Python rounds. */
function round(value: Value, args: Args): Value {
  if (!isNumber(value)) throw new TypeError(`a ${typeName(value)} cannot be rounded`);
  const factor = 10 ** args.int(0, 'precision', 0);
  const scaled = Number(numeric(value)) * factor;
  const method = args.get(1, 'method') ?? 'common';
  if (method === 'ceil' || method === 'floor') return new Float(Math[method](scaled) / factor);
  const isHalf = Math.abs(scaled % 1) === 0.5;
  return new Float((isHalf ? 2 * Math.round(scaled / 2) : Math.round(scaled)) / factor);
}

function absolute(value: Value): Value {
  if (value instanceof Float) return new Float(Math.abs(value.value));
  if (!isNumber(value)) throw new TypeError(`bad operand type for abs(): '${typeName(value)}'`);
  const number = numeric(value);
  return number < 0 ? -number : number;
}

function join(value: Value, args: Args): Value {
  const attribute = args.get(1, 'attribute') ?? null;
  const all = attribute === null ? iterate(value) : iterate(value).map(reader(attribute));
  return joinTexts(all.map(str), str(args.get(0, 'd') ?? ''));
}

/** `replace` and others of Jinja's take any value's text. */
export const FILTERS: Record<string, Filter> = {
  abs: absolute,
  attr: (value, args) => attributeOf(value, args.text(0, 'name')),
  capitalize: (value) => capitalized(str(value)),
  count: (value) => lengthOf(value),
  d: (value, args) => FILTERS['default']!(value, args),
  default: (value, args) => {
    const isAbsent = value instanceof Undefined || (args.flag(1, 'boolean') && !isTrue(value));
    return isAbsent ? orElse(args.get(0, 'default_value'), '') : value;
  },
  dictsort,
  first: (value) => orElse(iterate(value)[0], new Undefined('No first item, sequence was empty.')),
  float: toFloat,
  format: (value, args) => printf(str(value), args.named.size > 0 ? new Map(args.named) : tuple(...args.positional)),
  groupby,
  indent,
  int: toInt,
  items: (value) => {
    if (value instanceof Undefined) return new Generator([]);
    if (!(value instanceof Map)) throw new TypeError('Can only get item pairs from a mapping.');
    return new Generator(iterate(items(value)));
  },
  join,
  last: (value) => orElse(iterate(value).at(-1), new Undefined('No last item, sequence was empty.')),
  length: (value) => lengthOf(value),
  list: (value) => [...iterate(value)],
  lower: (value) => str(value).toLowerCase(),
  map,
  max: extreme(1),
  min: extreme(-1),
  reject: choosing(false, false),
  rejectattr: choosing(false, true),
  replace: (value, args) =>
    replace(str(value), str(args.need(0, 'old')), str(args.need(1, 'new')), args.int(2, 'count', -1)),
  reverse: (value) =>
    typeof value === 'string' ? characters(value).reverse().join('') : new Generator([...iterate(value)].reverse()),
  round,
  select: choosing(true, false),
  selectattr: choosing(true, true),
  sort,
  string: (value) => str(value),
  sum: (value, args) => {
    const attribute = args.get(0, 'attribute') ?? null;
    const read = attribute === null ? (item: Value) => item : reader(attribute);
    return iterate(value)
      .map(read)
      .reduce((sum, item) => binary('+', sum, item), orElse(args.get(1, 'start'), 0));
  },
  title: (value) =>
    str(value)
      .split(/([-\s({[<]+)/)
      .map(capitalized)
      .join(''),
  tojson,
  trim: (value, args) => strip(str(value), args.get(0, 'chars') ?? null),
  unique,
  upper: (value) => str(value).toUpperCase(),
  wordcount: (value) => (str(value).match(/[\p{L}\p{N}_]+/gu) ?? []).length,
};
