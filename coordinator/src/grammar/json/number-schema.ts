import { choice, type Expression, text } from '../expression.ts';
import { JSON_INTEGER, JSON_NUMBER } from './json-values.ts';
import { type Bound, integerRange, numberRange } from './number-ranges.ts';
import { numberAt, refused, type SchemaContext, type SchemaPart, textAt, valueOf } from './schema-reader.ts';

/** Multiples that are listed one by one. */
const MAX_MULTIPLES = 1_000;

/** What finding and writing out a range counts as. */
const RANGE_STEPS = 200;

export function numberExpression(
  compiler: SchemaContext,
  parts: readonly SchemaPart[],
  type: 'integer' | 'number',
): Expression {
  let low: Bound | undefined;
  let high: Bound | undefined;
  const steps: { step: number; place: string }[] = [];
  for (const part of parts) {
    for (const bound of boundsOf(part, 'minimum', 'exclusiveMinimum')) if (isTighter(bound, low, 1)) low = bound;
    for (const bound of boundsOf(part, 'maximum', 'exclusiveMaximum')) if (isTighter(bound, high, -1)) high = bound;
    if (textAt(part, 'format') === 'int32') {
      const [least, most] = [
        { value: -(2 ** 31), isExclusive: false },
        { value: 2 ** 31 - 1, isExclusive: false },
      ];
      if (isTighter(least, low, 1)) low = least;
      if (isTighter(most, high, -1)) high = most;
    }
    const step = numberAt(part, 'multipleOf');
    if (step !== undefined && !(type === 'integer' && step === 1)) steps.push({ step, place: part.place });
  }
  if (steps.length > 0) return multiples(compiler, steps, low, high);
  if (!low && !high) return type === 'integer' ? JSON_INTEGER : JSON_NUMBER;
  compiler.spend(RANGE_STEPS);
  return type === 'integer' ? integerRange(low, high) : numberRange(low, high);
}

/** In draft 4, an exclusive bound is a `true` beside the bound. */
function boundsOf(part: SchemaPart, inclusive: string, exclusive: string): Bound[] {
  const bounds: Bound[] = [];
  const value = numberAt(part, inclusive);
  const isExclusive = valueOf(part.schema, exclusive);
  if (typeof isExclusive === 'boolean') return value === undefined ? [] : [{ value, isExclusive }];
  if (value !== undefined) bounds.push({ value, isExclusive: false });
  const other = numberAt(part, exclusive);
  if (other !== undefined) bounds.push({ value: other, isExclusive: true });
  return bounds;
}

function isTighter(bound: Bound, than: Bound | undefined, sign: 1 | -1): boolean {
  if (!than) return true;
  const difference = sign * (bound.value - than.value);
  return difference > 0 || (difference === 0 && bound.isExclusive);
}

interface Step {
  step: number;
  place: string;
}

function multiples(compiler: SchemaContext, steps: readonly Step[], low?: Bound, high?: Bound): Expression {
  const [{ step, place }] = steps as [Step];
  const remedy = `give a whole number, and a minimum and maximum with at most ${MAX_MULTIPLES} multiples between`;
  // Beyond safe integers, the next multiple may be the same double.
  const isExact = [low, high].every((bound) => bound && Math.abs(bound.value) + step <= Number.MAX_SAFE_INTEGER);
  const isCountable = isExact && (high!.value - low!.value) / step <= MAX_MULTIPLES;
  if (steps.some((other) => !Number.isSafeInteger(other.step) || other.step <= 0) || !isCountable)
    throw refused('multipleOf', place, remedy);
  const values: number[] = [];
  for (let value = Math.ceil(low!.value / step) * step; value <= high!.value; value += step) {
    compiler.spend(steps.length);
    const isWithin = !(low!.isExclusive && value === low!.value) && !(high!.isExclusive && value === high!.value);
    if (isWithin && steps.every((other) => value % other.step === 0)) values.push(value === 0 ? 0 : value);
  }
  return choice(...values.map((value) => text(JSON.stringify(value))));
}
