import assert from 'node:assert/strict';

export { assert };

/** What a server has sent. */
export type Json = ReturnType<typeof JSON.parse>;

/** Checks that `actual` has what `wanted` has: objects may have more keys, arrays must have as many elements. */
export function matches(actual: unknown, wanted: unknown, path = 'answer'): void {
  if (Array.isArray(wanted)) {
    assert.ok(Array.isArray(actual), `${path} is an array`);
    assert.equal(actual.length, wanted.length, `length of ${path}`);
    for (const [index, one] of wanted.entries()) matches(actual[index], one, `${path}[${index}]`);
  } else if (typeof wanted === 'object' && wanted !== null) {
    assert.ok(typeof actual === 'object' && actual !== null, `${path} is an object`);
    for (const [key, one] of Object.entries(wanted)) matches((actual as Json)[key], one, `${path}.${key}`);
  } else {
    assert.deepEqual(actual, wanted, path);
  }
}

/** Values that occur once each. */
export function distinct(values: readonly unknown[]): number {
  return new Set(values.map((value) => JSON.stringify(value))).size;
}

export function isInteger(value: unknown, least: number): void {
  assert.ok(Number.isInteger(value) && (value as number) >= least, `${String(value)} is an integer from ${least} on`);
}

export function isText(value: unknown): void {
  assert.ok(typeof value === 'string' && value !== '', 'a text that is not empty');
}
