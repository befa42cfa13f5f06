import type { AccessKind, EntryViews } from '@shoal/protocol';
import { formatNumber } from '../../format.ts';

/** A field of the form of an entry. */
export interface Field {
  name: string;
  label: string;
  type: 'text' | 'number' | 'datetime-local' | 'role';
  required?: true;
  hint?: string;
}

const NOTE: Field = { name: 'note', label: 'Note', type: 'text' };

/** By kind of entry: what may be changed. */
export const FIELDS: Readonly<Record<AccessKind, readonly Field[]>> = {
  keys: [
    { name: 'requestsPerMinute', label: 'Requests a minute', type: 'number' },
    { name: 'tokensPerMinute', label: 'Tokens a minute', type: 'number' },
    { name: 'tokensPerDay', label: 'Tokens a day (UTC)', type: 'number' },
    { name: 'maxConcurrent', label: 'Answers at a time', type: 'number' },
    NOTE,
  ],
  invites: [
    { name: 'maxPeers', label: 'Tabs at a time', type: 'number' },
    { name: 'expires', label: 'Admits tabs until', type: 'datetime-local' },
    NOTE,
  ],
  admins: [{ name: 'role', label: 'Role', type: 'role' }, NOTE],
};

export type Values = Readonly<Record<string, string>>;

/** An entry as the fields of its form have it. */
export function valuesOf<Kind extends AccessKind>(kind: Kind, entry: EntryViews[Kind] | undefined): Values {
  const given = (entry ?? {}) as Record<string, unknown>;
  return Object.fromEntries(
    FIELDS[kind].map(({ name, type }) => {
      const value = given[name] ?? (type === 'role' ? 'operator' : '');
      return [name, type === 'datetime-local' && value !== '' ? localTime(String(value)) : String(value)];
    }),
  );
}

/** The fields that differ from `before`, as the coordinator takes them: an empty limit is null. */
export function changesOf(kind: AccessKind, values: Values, before: Values): Record<string, unknown> {
  const changed = FIELDS[kind].filter(({ name }) => values[name] !== before[name]);
  return Object.fromEntries(changed.map((field) => [field.name, valueOf(field, (values[field.name] ?? '').trim())]));
}

function valueOf({ type }: Field, text: string): unknown {
  if (type === 'number') return text === '' ? null : Number(text);
  if (type === 'datetime-local') return text === '' ? null : new Date(text).toISOString();
  return text;
}

/** An ISO time as a field of this type has it: in this browser's time zone, to the minute. */
function localTime(iso: string): string {
  const time = new Date(iso);
  return new Date(time.getTime() - time.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

const LIMIT_WORDS: readonly (readonly [name: keyof EntryViews['keys'], words: string])[] = [
  ['requestsPerMinute', 'requests/min'],
  ['tokensPerMinute', 'tokens/min'],
  ['tokensPerDay', 'tokens/day'],
  ['maxConcurrent', 'at a time'],
];

/** `60 requests/min, 4 at a time`. */
export function keyLimits(key: EntryViews['keys']): string {
  const limits = LIMIT_WORDS.flatMap(([name, words]) => {
    const value = key[name];
    return typeof value === 'number' ? [`${formatNumber(value)} ${words}`] : [];
  });
  return limits.length === 0 ? 'no limits' : limits.join(', ');
}
