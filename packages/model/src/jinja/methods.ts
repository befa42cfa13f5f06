import { joinTexts, repeatText, spendText } from './budget.ts';
import { formatText } from './format.ts';
import { str } from './text.ts';
import {
  type Args,
  type Callable,
  characters,
  type Dict,
  equal,
  expectText,
  fromKey,
  iterate,
  keyOf,
  Namespace,
  orElse,
  spendValue,
  Tuple,
  tuple,
  typeName,
  Undefined,
  type Value,
  view,
} from './value.ts';

type Methods<T> = Record<string, (self: T, args: Args) => Value>;

/** What Python takes for white space, which is not quite what JavaScript does. */
const SPACE = '\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';
const LEADING_SPACE = new RegExp(`^[${SPACE}]+`);
const TRAILING_SPACE = new RegExp(`[${SPACE}]+$`);
const SPACES = new RegExp(`[${SPACE}]+`, 'g');
const LINE_ENDS = '\\n-\\r\\x1c-\\x1e\\x85\\u2028\\u2029';
const LINE_END = new RegExp(`\\r\\n|[${LINE_ENDS}]`, 'g');

/** Python's `str.strip`, on the sides that are asked for. */
export function strip(text: string, set: Value = null, sides: 'both' | 'left' | 'right' = 'both'): string {
  if (set === null) {
    const cut = sides === 'right' ? text : text.replace(LEADING_SPACE, '');
    return sides === 'left' ? cut : trimEnd(cut);
  }
  const away = new Set(characters(expectText(set)));
  const all = characters(text);
  let [start, end] = [0, all.length];
  if (sides !== 'right') while (start < end && away.has(all[start]!)) start++;
  if (sides !== 'left') while (end > start && away.has(all[end - 1]!)) end--;
  return all.slice(start, end).join('');
}

/** The regular expression alone would take a time that is the square of a run of spaces inside the text. */
function trimEnd(text: string): string {
  let end = text.length;
  while (end > 0 && TRAILING_SPACE.test(text[end - 1]!)) end--;
  return text.slice(0, end);
}

function split(text: string, separator: Value, most: number): string[] {
  if (separator === null) return splitAtSpaces(text, most);
  const mark = expectText(separator);
  if (mark === '') throw new Error('empty separator');
  const parts = text.split(mark);
  return most < 0 || parts.length <= most ? parts : [...parts.slice(0, most), parts.slice(most).join(mark)];
}

function splitAtSpaces(text: string, most: number): string[] {
  let rest = strip(text, null, most < 0 ? 'both' : 'left');
  if (most < 0) return rest === '' ? [] : rest.split(SPACES);
  const parts: string[] = [];
  while (rest !== '' && parts.length < most) {
    const end = rest.search(SPACES);
    if (end < 0) break;
    parts.push(rest.slice(0, end));
    rest = strip(rest.slice(end), null, 'left');
  }
  return rest === '' ? parts : [...parts, rest];
}

const reversed = (text: string): string => characters(text).reverse().join('');

function splitFromRight(text: string, separator: Value, most: number): string[] {
  if (most < 0) return split(text, separator, most);
  const mark = separator === null ? null : reversed(expectText(separator));
  return split(reversed(text), mark, most).map(reversed).reverse();
}

function splitLines(text: string, keepEnds: boolean): string[] {
  const lines: string[] = [];
  let start = 0;
  for (const { index, 0: end } of text.matchAll(LINE_END)) {
    lines.push(text.slice(start, index + (keepEnds ? end.length : 0)));
    start = index + end.length;
  }
  return start < text.length ? [...lines, text.slice(start)] : lines;
}

/** Python's `str.replace`. */
export function replace(text: string, old: string, by: string, most: number): string {
  if (old !== '') return joinTexts(split(text, old, most), by);
  // Nothing is between all characters, before them and after them.
  const all = characters(text);
  spendText(all.length * by.length);
  return ['', ...all].map((one, at) => one + (most < 0 || at < most ? by : '')).join('');
}

/** Jinja's words begin after white space, hyphens and opening brackets; Python's at every letter after none. */
const titled = (text: string): string =>
  text.replace(/\p{L}+/gu, (word) => {
    const [first = '', ...rest] = characters(word);
    return first.toUpperCase() + rest.join('').toLowerCase();
  });

export function capitalized(text: string): string {
  const [first = '', ...rest] = characters(text);
  return first.toUpperCase() + rest.join('').toLowerCase();
}

/** Where a text is found, in characters; -1 for nowhere. */
function indexIn(text: string, unit: number): number {
  return unit < 0 ? -1 : characters(text.slice(0, unit)).length;
}

function found(at: number): number {
  if (at < 0) throw new Error('substring not found');
  return at;
}

function startsOrEnds(args: Args, test: (part: string) => boolean): boolean {
  const parts = args.need(0, 'prefix');
  if (parts instanceof Tuple) return parts.some((part) => test(expectText(part)));
  return test(expectText(parts));
}

function padded(text: string, args: Args, before: (missing: number) => number): string {
  const missing = Math.max(0, args.int(0, 'width', 0) - characters(text).length);
  const fill = expectText(args.get(1) ?? ' ');
  const left = before(missing);
  return repeatText(fill, left) + text + repeatText(fill, missing - left);
}

function partition(text: string, mark: string, at: number): Value {
  if (at < 0) return tuple(text, '', '');
  return tuple(text.slice(0, at), mark, text.slice(at + mark.length));
}

const cased = /\p{Lu}|\p{Ll}|\p{Lt}/u;

const STRING: Methods<string> = {
  upper: (text) => text.toUpperCase(),
  lower: (text) => text.toLowerCase(),
  casefold: (text) => text.toLowerCase(),
  swapcase: (text) =>
    characters(text)
      .map((one) => (one === one.toUpperCase() ? one.toLowerCase() : one.toUpperCase()))
      .join(''),
  title: titled,
  capitalize: capitalized,
  strip: (text, args) => strip(text, args.get(0)),
  lstrip: (text, args) => strip(text, args.get(0), 'left'),
  rstrip: (text, args) => strip(text, args.get(0), 'right'),
  startswith: (text, args) => startsOrEnds(args, (part) => text.startsWith(part)),
  endswith: (text, args) => startsOrEnds(args, (part) => text.endsWith(part)),
  split: (text, args) => split(text, args.get(0, 'sep') ?? null, args.int(1, 'maxsplit', -1)),
  rsplit: (text, args) => splitFromRight(text, args.get(0, 'sep') ?? null, args.int(1, 'maxsplit', -1)),
  splitlines: (text, args) => splitLines(text, args.flag(0, 'keepends')),
  replace: (text, args) => replace(text, args.text(0, 'old'), args.text(1, 'new'), args.int(2, 'count', -1)),
  find: (text, args) => indexIn(text, text.indexOf(args.text(0, 'sub'))),
  rfind: (text, args) => indexIn(text, text.lastIndexOf(args.text(0, 'sub'))),
  index: (text, args) => found(indexIn(text, text.indexOf(args.text(0, 'sub')))),
  count: (text, args) => text.split(args.text(0, 'sub')).length - 1,
  join: (text, args) => joinTexts(iterate(args.need(0, 'iterable')).map(expectText), text),
  format: (text, args) =>
    formatText(text, args, (object, name) => itemOf(object, /^\d+$/.test(name) ? Number(name) : name)),
  removeprefix: (text, args) =>
    text.startsWith(args.text(0, 'prefix')) ? text.slice(args.text(0, 'prefix').length) : text,
  removesuffix: (text, args) =>
    text.endsWith(args.text(0, 'suffix')) ? text.slice(0, text.length - args.text(0, 'suffix').length) : text,
  partition: (text, args) => partition(text, args.text(0, 'sep'), text.indexOf(args.text(0, 'sep'))),
  rpartition: (text, args) => {
    const mark = args.text(0, 'sep');
    const at = text.lastIndexOf(mark);
    return at < 0 ? tuple('', '', text) : partition(text, mark, at);
  },
  ljust: (text, args) => padded(text, args, () => 0),
  rjust: (text, args) => padded(text, args, (missing) => missing),
  // The odd place is where CPython has it.
  center: (text, args) =>
    padded(text, args, (missing) => Math.floor(missing / 2) + (missing & args.int(0, 'width', 0) & 1)),
  zfill: (text, args) => {
    const sign = /^[+-]/.exec(text)?.[0] ?? '';
    return sign + repeatText('0', args.int(0, 'width', 0) - text.length) + text.slice(sign.length);
  },
  isdigit: (text) => /^\p{Nd}+$/u.test(text),
  isnumeric: (text) => /^\p{N}+$/u.test(text),
  isalpha: (text) => /^\p{L}+$/u.test(text),
  isalnum: (text) => /^[\p{L}\p{N}]+$/u.test(text),
  isspace: (text) => text !== '' && strip(text) === '',
  isupper: (text) => cased.test(text) && text === text.toUpperCase(),
  islower: (text) => cased.test(text) && text === text.toLowerCase(),
};

const DICT: Methods<Dict> = {
  get: (dict, args) => orElse(dict.get(keyOf(args.need(0, 'key'))), orElse(args.get(1, 'default'), null)),
  keys: (dict) => view('dict_keys', [...dict.keys()].map(fromKey)),
  values: (dict) => view('dict_values', dict.values()),
  items: (dict) => items(dict),
  copy: (dict) => new Map(dict),
};

const LIST: Methods<Value[]> = {
  index: (list, args) => found(list.findIndex((item) => equal(item, args.need(0, 'value')))),
  count: (list, args) => list.filter((item) => equal(item, args.need(0, 'value'))).length,
  copy: (list) => [...list],
};

/** Methods that change what they are called on, which the sandbox that transformers renders in refuses. */
const CHANGING: Record<string, ReadonlySet<string>> = {
  list: new Set(['append', 'clear', 'extend', 'insert', 'pop', 'remove', 'reverse', 'sort']),
  dict: new Set(['clear', 'pop', 'popitem', 'setdefault', 'update']),
};

export const items = (dict: Dict): Value =>
  view(
    'dict_items',
    [...dict].map(([key, value]) => tuple(fromKey(key), value)),
  );

/** A value's method or other attribute; undefined if it has none of this name. */
function ownAttribute(object: Value, name: string): Value | undefined {
  if (object instanceof Namespace) return object.attributes.get(name);
  const [methods, self] = methodsOf(object);
  if (Object.hasOwn(methods, name)) {
    return ((args) => {
      spendValue(object);
      const result = methods[name]!(self as never, args);
      spendValue(result);
      return result;
    }) satisfies Callable;
  }
  const type = typeName(object);
  if (CHANGING[type]?.has(name)) {
    return () => {
      throw new Error(
        `a template may not change its values: access to attribute '${name}' of '${type}' object is unsafe`,
      );
    };
  }
  return undefined;
}

function methodsOf(object: Value): [methods: Methods<never>, self: unknown] {
  if (typeof object === 'string') return [STRING, object];
  if (object instanceof Map) return [DICT, object];
  return [typeName(object) === 'list' || object instanceof Tuple ? LIST : {}, object];
}

/** `object.name`, which is Python's attribute before it is an item. */
export function attributeOf(object: Value, name: string): Value {
  if (object instanceof Undefined) throw new Error(object.why);
  const own = ownAttribute(object, name);
  const item = own === undefined && object instanceof Map ? object.get(name) : own;
  return orElse(item, missing(object, name));
}

/** `object[key]`, which is an item before it is an attribute. */
export function itemOf(object: Value, key: Value): Value {
  if (object instanceof Undefined) throw new Error(object.why);
  if (object instanceof Map) {
    if (!(key instanceof Undefined) && object.has(keyOf(key))) return object.get(keyOf(key))!;
  } else if (
    (typeof object === 'string' || Array.isArray(object)) &&
    (typeof key === 'number' || typeof key === 'boolean')
  ) {
    const all = typeof object === 'string' ? characters(object) : object;
    return orElse(all.at(Number(key)), missing(object, key));
  }
  return orElse(typeof key === 'string' ? ownAttribute(object, key) : undefined, missing(object, key));
}

function missing(object: Value, key: Value): Undefined {
  const shown = typeof key === 'string' ? `attribute '${key}'` : `element ${str(key)}`;
  return new Undefined(`'${typeName(object)} object' has no ${shown}`);
}
