import { spendItems } from './budget.ts';
import { strftime } from './strftime.ts';
import { str } from './text.ts';
import {
  type Args,
  type Callable,
  type Dict,
  expectInt,
  isTrue,
  iterate,
  keyOf,
  Namespace,
  type Value,
} from './value.ts';

/** As in Jinja's sandbox. */
const MAX_RANGE = 100_000;

/** Functions that every template has. */
export const GLOBALS: Readonly<Record<string, Callable>> = {
  range,
  dict: ({ positional, named }: Args) => dict(positional[0], named),
  namespace: ({ positional, named }: Args) =>
    new Namespace(new Map([...dict(positional[0], named)].map(([key, value]) => [String(key), value]))),
  raise_exception: (args: Args) => {
    throw new Error(str(args.need(0, 'message')));
  },
  strftime_now: (args: Args) => strftime(new Date(), args.text(0, 'format')),
  joiner: (args: Args) => {
    const separator = args.get(0, 'sep') ?? ', ';
    let isUsed = false;
    return () => {
      const text = isUsed ? separator : '';
      isUsed = true;
      return text;
    };
  },
};

function dict(source: Value | undefined, named: ReadonlyMap<string, Value>): Dict {
  const entries: Dict = new Map();
  if (source instanceof Map) for (const [key, value] of source) entries.set(key, value);
  else if (source !== undefined) {
    for (const pair of iterate(source)) {
      const [key, value] = iterate(pair);
      if (key === undefined || value === undefined) throw new TypeError('a dict is made of pairs');
      entries.set(keyOf(key), value);
    }
  }
  for (const [key, value] of named) entries.set(key, value);
  return entries;
}

function range({ positional }: Args): Value {
  const [first, second, step = 1] = positional.map(expectInt);
  if (first === undefined) throw new TypeError('range expected at least 1 argument, got 0');
  if (!isTrue(step)) throw new Error('range() arg 3 must not be zero');
  const [start, stop] = second === undefined ? [0, first] : [first, second];
  const length = Math.max(0, Math.ceil((stop - start) / step));
  if (length > MAX_RANGE) throw new Error(`range of ${length} items, more than the ${MAX_RANGE} that are allowed`);
  spendItems(length);
  return Array.from({ length }, (_, at) => start + at * step);
}
