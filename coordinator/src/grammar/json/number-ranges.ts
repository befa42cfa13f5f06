import { chars, choice, DIGIT, EMPTY, type Expression, NEVER, repeat, sequence, text } from '../expression.ts';

/** Inclusive where `isExclusive` is not set. */
export interface Bound {
  value: number;
  isExclusive: boolean;
}

/** Larger integers are not told apart by doubles. */
const MAX_INTEGER = BigInt(Number.MAX_SAFE_INTEGER);
/** Digits before the point of numbers with bounds. */
const WHOLE_DIGITS = 17;
/** Digits after the point of numbers with bounds. */
const FRACTION_DIGITS = 10;

/** Integers between bounds, as JSON. Digits are compared as validators compare doubles. */
export function integerRange(low: Bound | undefined, high: Bound | undefined): Expression {
  const least = low ? scaled(low, 0, 'up') : -MAX_INTEGER;
  const most = high ? scaled(high, 0, 'down') : MAX_INTEGER;
  if (least > MAX_INTEGER || most < -MAX_INTEGER) return NEVER;
  return signed(larger(least, -MAX_INTEGER), smaller(most, MAX_INTEGER), wholeNumbers);
}

/** Numbers between bounds, as JSON without exponents. */
export function numberRange(low: Bound | undefined, high: Bound | undefined): Expression {
  const limit = 10n ** BigInt(WHOLE_DIGITS + FRACTION_DIGITS) - 1n;
  const least = low ? scaled(low, FRACTION_DIGITS, 'up') : -limit;
  const most = high ? scaled(high, FRACTION_DIGITS, 'down') : limit;
  if (least > limit || most < -limit) return NEVER;
  return signed(larger(least, -limit), smaller(most, limit), decimals);
}

const larger = (a: bigint, b: bigint): bigint => (a > b ? a : b);
const smaller = (a: bigint, b: bigint): bigint => (a < b ? a : b);

/** The multiple of 10^-digits next to a bound that is within it as a double. */
function scaled({ value, isExclusive }: Bound, digits: number, direction: 'up' | 'down'): bigint {
  // Beyond what is written anyway, and where toFixed would give an exponent.
  const near = Math.max(-1e20, Math.min(1e20, value));
  const at = BigInt(near.toFixed(digits).replace('.', ''));
  if (Math.abs(value) > 1e20) return at;
  const isWithin = (candidate: bigint): boolean => {
    const distance = Number(`${candidate}e-${digits}`) - value;
    return isExclusive && distance === 0 ? false : direction === 'up' ? distance >= 0 : distance <= 0;
  };
  return firstWithin(at, direction === 'up' ? 1n : -1n, isWithin);
}

/** The first in a direction that is within, found by doubling steps and then halving them: a double may stand for 10^14 others. */
function firstWithin(near: bigint, direction: bigint, isWithin: (candidate: bigint) => boolean): bigint {
  let step = direction;
  while (isWithin(near - step)) step *= 2n;
  let outside = near - step;
  step = direction;
  while (!isWithin(near + step)) step *= 2n;
  let within = near + step;
  while (within - outside !== direction) {
    const middle = (within + outside) / 2n;
    if (isWithin(middle)) within = middle;
    else outside = middle;
  }
  return within;
}

function signed(least: bigint, most: bigint, write: (least: bigint, most: bigint) => Expression): Expression {
  const options: Expression[] = [];
  if (least < 0n) {
    const smallest = most < 0n ? -most : 1n;
    options.push(sequence(text('-'), write(smallest, -least)));
  }
  if (most >= 0n && most >= least) options.push(write(larger(least, 0n), most));
  return least > most ? NEVER : choice(...options);
}

/** Integers from 0 up, without leading zeros. */
function wholeNumbers(least: bigint, most: bigint): Expression {
  const options: Expression[] = [];
  for (let length = String(least).length; length <= String(most).length; length++) {
    const low = larger(least, length === 1 ? 0n : 10n ** BigInt(length - 1));
    const high = smaller(most, 10n ** BigInt(length) - 1n);
    if (low <= high) options.push(digitsBetween(String(low), String(high)));
  }
  return choice(...options);
}

const isAll = (digits: string, digit: string): boolean => digits === digit.repeat(digits.length);
const digit = (value: string, offset = 0): number => value.charCodeAt(0) + offset;

/** Digits as many as both bounds have. */
function digitsBetween(low: string, high: string): Expression {
  if (isAll(low, '0') && isAll(high, '9')) return repeat(DIGIT, low.length, low.length);
  const [lowRest, highRest] = [low.slice(1), high.slice(1)];
  if (low[0] === high[0]) return sequence(text(low[0]!), digitsBetween(lowRest, highRest));
  const any = repeat(DIGIT, lowRest.length, lowRest.length);
  return choice(
    sequence(text(low[0]!), digitsBetween(lowRest, '9'.repeat(lowRest.length))),
    sequence(chars([digit(low, 1), digit(high, -1)]), any),
    sequence(text(high[0]!), digitsBetween('0'.repeat(lowRest.length), highRest)),
  );
}

/** Multiples of 10^-FRACTION_DIGITS from 0 up. */
function decimals(least: bigint, most: bigint): Expression {
  const unit = 10n ** BigInt(FRACTION_DIGITS);
  const [low, high] = [least / unit, most / unit];
  const [zeros, nines] = ['0'.repeat(FRACTION_DIGITS), '9'.repeat(FRACTION_DIGITS)];
  const lowPart = String(least % unit).padStart(FRACTION_DIGITS, '0');
  const highPart = String(most % unit).padStart(FRACTION_DIGITS, '0');
  if (low === high) return sequence(text(String(low)), fraction(lowPart, highPart));
  const options = [
    sequence(text(String(low)), fraction(lowPart, nines)),
    sequence(text(String(high)), fraction(zeros, highPart)),
  ];
  if (low + 1n <= high - 1n) options.push(sequence(wholeNumbers(low + 1n, high - 1n), fraction(zeros, nines)));
  return choice(...options);
}

function fraction(low: string, high: string): Expression {
  const withPoint = sequence(text('.'), fractionDigits(low, high));
  return isAll(low, '0') ? choice(EMPTY, withPoint) : withPoint;
}

/** One or more digits that lie between the bounds if zeros are added at the end. */
function fractionDigits(low: string, high: string): Expression {
  if (isAll(low, '0') && isAll(high, '9')) return repeat(DIGIT, 1, low.length);
  const [lowRest, highRest] = [low.slice(1), high.slice(1)];
  if (low[0] === high[0]) return sequence(text(low[0]!), moreDigits(lowRest, highRest));
  const [zeros, nines] = ['0'.repeat(lowRest.length), '9'.repeat(lowRest.length)];
  return choice(
    sequence(text(low[0]!), moreDigits(lowRest, nines)),
    sequence(chars([digit(low, 1), digit(high, -1)]), moreDigits(zeros, nines)),
    sequence(text(high[0]!), moreDigits(zeros, highRest)),
  );
}

function moreDigits(low: string, high: string): Expression {
  if (low === '') return EMPTY;
  return isAll(low, '0') ? choice(EMPTY, fractionDigits(low, high)) : fractionDigits(low, high);
}
