import { resolve } from 'node:path';
import { UsageError } from './usage-error.ts';

/** How the value of an option is written, and what it becomes. */
export interface ValueKind<T> {
  /** Placeholder for the value in help and docs; a switch has none. */
  value?: string;
  /** Throws a UsageError whose message continues the option's name: "takes 1 or 0, not …". */
  parse: (given: string) => T;
}

/** Any text. */
export function text(value: string): ValueKind<string> {
  return { value, parse: (given) => given };
}

/** A path, made absolute. */
export function path(value: string): ValueKind<string> {
  return { value, parse: (given) => resolve(given) };
}

export function integer(min: number, max = Number.MAX_SAFE_INTEGER): ValueKind<number> {
  return {
    value: 'N',
    parse: (given) => {
      const number = /^-?\d+$/.test(given) ? Number(given) : Number.NaN;
      if (Number.isSafeInteger(number) && number >= min && number <= max) return number;
      throw refusal(`a whole number${range(min, max)}`, given);
    },
  };
}

export interface PortRange {
  first: number;
  last: number;
}

/** One port, or several to choose from: PORT or FIRST-LAST. */
export function ports(min: number): ValueKind<PortRange> {
  const MAX = 65_535;
  return {
    value: 'PORT|FIRST-LAST',
    parse: (given) => {
      const [, first = '', last = first] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(given.trim()) ?? [];
      const found = { first: Number(first), last: Number(last) };
      const isRange = first !== '' && found.first >= min && found.first <= found.last && found.last <= MAX;
      // 0 is any free port, which a range can't begin with.
      if (isRange && (found.first > 0 || found.last === 0)) return found;
      throw refusal(`a port, or a range of ports such as 8787-8796,${range(min, MAX)}`, given);
    },
  };
}

export function decimal(value: string, min: number, max: number): ValueKind<number> {
  return {
    value,
    parse: (given) => {
      const number = given.trim() === '' ? Number.NaN : Number(given);
      if (number >= min && number <= max) return number;
      throw refusal(`a number${range(min, max)}`, given);
    },
  };
}

export function choice<T extends string>(...allowed: readonly T[]): ValueKind<T> {
  return {
    value: allowed.join('|'),
    parse: (given) => {
      const found = allowed.find((value) => value === given);
      if (found === undefined) throw refusal(allowed.join(', '), given);
      return found;
    },
  };
}

/** An option without a value. In the environment it is written as 1 or 0. */
export const SWITCH: ValueKind<boolean> & { default: string } = {
  default: '0',
  parse: (given) => {
    if (given === '1' || given === 'true') return true;
    if (given === '0' || given === 'false') return false;
    throw refusal('1 or 0', given);
  },
};

const UNIT_BYTES: Readonly<Record<string, number>> = { MiB: 2 ** 20, GiB: 2 ** 30, MB: 1e6, GB: 1e9 };

/** A size greater than zero, in bytes. */
export const SIZE: ValueKind<number> = {
  value: 'SIZE',
  parse: (given) => {
    const parts = /^(\d+(?:\.\d+)?) ?([MG]i?B)$/.exec(given.trim());
    const bytes = parts ? Math.floor(Number(parts[1]) * UNIT_BYTES[parts[2]!]!) : 0;
    if (bytes > 0 && Number.isSafeInteger(bytes)) return bytes;
    throw refusal('a size such as 512MiB or 4GiB', given);
  },
};

/** A time greater than zero, in milliseconds. */
export const TIME: ValueKind<number> = {
  value: 'TIME',
  parse: (given) => {
    const parts = /^(\d+(?:\.\d+)?) ?(ms|s)$/.exec(given.trim());
    const ms = parts ? Number(parts[1]) * (parts[2] === 's' ? 1000 : 1) : 0;
    if (ms > 0) return ms;
    throw refusal('a time such as 20ms or 0.1s', given);
  },
};

function refusal(expected: string, given: string): UsageError {
  return new UsageError(`takes ${expected}, not "${given}"`);
}

function range(min: number, max: number): string {
  if (min <= Number.MIN_SAFE_INTEGER) return '';
  return max >= Number.MAX_SAFE_INTEGER ? ` from ${min} on` : ` from ${min} to ${max}`;
}
