import {
  type Args,
  compare,
  contains,
  equal,
  expectInt,
  Float,
  Generator,
  isNumber,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from './value.ts';

export type Test = (value: Value, args: Args) => boolean;

const other = (args: Args): Value => args.need(0, 'other');
const isEqual: Test = (value, args) => equal(value, other(args));
const isUnequal: Test = (value, args) => !equal(value, other(args));
const isGreater: Test = (value, args) => compare(value, other(args)) > 0;
const isLess: Test = (value, args) => compare(value, other(args)) < 0;
const isAtLeast: Test = (value, args) => compare(value, other(args)) >= 0;
const isAtMost: Test = (value, args) => compare(value, other(args)) <= 0;
const isInt = (value: Value): boolean => typeof value === 'number' || typeof value === 'bigint';

/** Python's remainder of an int has the sign of the divisor. */
const isMultiple = (value: Value, divisor: number): boolean => BigInt(expectInt(value)) % BigInt(divisor) === 0n;

/** Jinja's tests by name. */
export const TESTS: Record<string, Test> = {
  '!=': isUnequal,
  '<': isLess,
  '<=': isAtMost,
  '==': isEqual,
  '>': isGreater,
  '>=': isAtLeast,
  boolean: (value) => typeof value === 'boolean',
  callable: (value) => typeof value === 'function',
  defined: (value) => !(value instanceof Undefined),
  divisibleby: (value, args) => isMultiple(value, expectInt(other(args))),
  eq: isEqual,
  equalto: isEqual,
  even: (value) => isMultiple(value, 2),
  false: (value) => value === false,
  float: (value) => value instanceof Float,
  ge: isAtLeast,
  greaterthan: isGreater,
  gt: isGreater,
  in: (value, args) => contains(other(args), value),
  integer: isInt,
  iterable: (value) => Array.isArray(value) || value instanceof Generator || isSequence(value),
  le: isAtMost,
  lessthan: isLess,
  lower: (value) => typeof value === 'string' && value !== value.toUpperCase() && value === value.toLowerCase(),
  lt: isLess,
  mapping: (value) => value instanceof Map,
  ne: isUnequal,
  none: (value) => value === null,
  number: isNumber,
  odd: (value) => !isMultiple(value, 2),
  sameas: (value, args) => value === other(args),
  sequence: (value) => isSequence(value),
  string: (value) => typeof value === 'string',
  true: (value) => value === true,
  undefined: (value) => value instanceof Undefined,
  upper: (value) => typeof value === 'string' && value !== value.toLowerCase() && value === value.toUpperCase(),
};

/** What has a length and items by index; Jinja's undefined claims to. */
function isSequence(value: Value): boolean {
  const isList = typeName(value) === 'list' || value instanceof Tuple;
  return isList || typeof value === 'string' || value instanceof Map || value instanceof Undefined;
}
