import cancel from '../../fixtures/cancel.json' with { type: 'json' };
import combineInt8 from '../../fixtures/combine-int8.json' with { type: 'json' };
import combineLargeInt8 from '../../fixtures/combine-large-int8.json' with { type: 'json' };
import combineLarge from '../../fixtures/combine-large.json' with { type: 'json' };
import combine from '../../fixtures/combine.json' with { type: 'json' };
import dispatchAdapters from '../../fixtures/dispatch-adapters.json' with { type: 'json' };
import dispatchInt8 from '../../fixtures/dispatch-int8.json' with { type: 'json' };
import dispatchLargeInt8 from '../../fixtures/dispatch-large-int8.json' with { type: 'json' };
import dispatchLarge from '../../fixtures/dispatch-large.json' with { type: 'json' };
import dispatchWide from '../../fixtures/dispatch-wide.json' with { type: 'json' };
import dispatch from '../../fixtures/dispatch.json' with { type: 'json' };
import refuse from '../../fixtures/refuse.json' with { type: 'json' };
import {
  decodeCancel,
  decodeCombine,
  decodeDispatch,
  decodeRefuse,
  encodeCancel,
  encodeCombine,
  encodeDispatch,
  encodeRefuse,
} from '../index.ts';

/** One frame as bytes and as fields. `bytes` is a list of [hex, what it is]; spaces in the hex are ignored. */
export interface FrameFixture {
  description: string;
  bytes: string[][];
  fields: Record<string, number | string | (number | string)[]>;
}

export type FixtureName =
  | 'dispatch'
  | 'dispatch-int8'
  | 'dispatch-wide'
  | 'dispatch-large'
  | 'dispatch-large-int8'
  | 'dispatch-adapters'
  | 'combine'
  | 'combine-int8'
  | 'combine-large'
  | 'combine-large-int8'
  | 'refuse'
  | 'cancel';
export const fixtures: Record<FixtureName, FrameFixture> = {
  dispatch,
  'dispatch-int8': dispatchInt8,
  'dispatch-wide': dispatchWide,
  'dispatch-large': dispatchLarge,
  'dispatch-large-int8': dispatchLargeInt8,
  'dispatch-adapters': dispatchAdapters,
  combine,
  'combine-int8': combineInt8,
  'combine-large': combineLarge,
  'combine-large-int8': combineLargeInt8,
  refuse,
  cancel,
};

const DISPATCHES = [
  'dispatch',
  'dispatch-int8',
  'dispatch-wide',
  'dispatch-large',
  'dispatch-large-int8',
  'dispatch-adapters',
] as const;

/** Joins the fixture's annotated pieces into its frame. */
export function fixtureBytes(fixture: FrameFixture): Uint8Array<ArrayBuffer> {
  const hex = fixture.bytes.map(([piece = '']) => piece.replaceAll(' ', '')).join('');
  return Uint8Array.from({ length: hex.length / 2 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16));
}

/**
 * Decodes every fixture and compares all fields, then encodes them and compares all bytes. Needs nothing but the language, so
 * that it also runs in a browser page. Returns a list of problems, empty if all is well.
 */
export function checkFixtures(): string[] {
  const problems: string[] = [];
  for (const name of DISPATCHES) {
    check(problems, name, (bytes, { hiddenSize }) => {
      const frame = decodeDispatch(bytes, { hiddenSize: Number(hiddenSize) });
      return [frame, encodeDispatch(frame)];
    });
  }
  for (const [name, rowFormat] of [
    ['combine', 'f16'],
    ['combine-int8', 'int8'],
    ['combine-large', 'f16'],
    ['combine-large-int8', 'int8'],
  ] as const) {
    check(problems, name, (bytes, { hiddenSize, numRows }) => {
      const expect = { hiddenSize: Number(hiddenSize), numRows: Number(numRows), rowFormat };
      const frame = decodeCombine(bytes, expect);
      return [frame, encodeCombine(frame)];
    });
  }
  check(problems, 'refuse', (bytes) => {
    const frame = decodeRefuse(bytes);
    return [frame, encodeRefuse(frame)];
  });
  check(problems, 'cancel', (bytes) => {
    const frame = decodeCancel(bytes);
    return [frame, encodeCancel(frame)];
  });
  return problems;
}

function check(
  problems: string[],
  name: keyof typeof fixtures,
  roundTrip: (bytes: Uint8Array, fields: FrameFixture['fields']) => [object, Uint8Array],
): void {
  const { fields, ...fixture } = fixtures[name];
  const bytes = fixtureBytes({ ...fixture, fields });
  try {
    const [frame, encoded] = roundTrip(bytes, fields);
    for (const key of new Set([...Object.keys(fields), ...Object.keys(frame)])) {
      const decoded = plain((frame as Record<string, unknown>)[key]);
      if (decoded !== plain(fields[key]))
        problems.push(`${name}.${key}: decoded ${decoded}, expected ${plain(fields[key])}`);
    }
    if (plain(encoded) !== plain(bytes)) problems.push(`${name}: encoding its fields gives different bytes`);
  } catch (error) {
    problems.push(`${name}: ${String(error)}`);
  }
}

function plain(value: unknown): string {
  if (typeof value === 'object' && value !== null && 'ends' in value)
    return JSON.stringify(value, (_, field: unknown) =>
      ArrayBuffer.isView(field) ? Array.from(field as Float32Array) : field,
    );
  return ArrayBuffer.isView(value)
    ? `[${Array.from(value as Uint8Array).join()}]`
    : Array.isArray(value)
      ? `[${value.join()}]`
      : String(value);
}
