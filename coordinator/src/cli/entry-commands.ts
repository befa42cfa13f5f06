import type { AccessKind, EntryViews, UsageRow } from '@shoal/protocol';
import { entryChangeSchemas, expirySchema, newEntrySchemas } from '@shoal/protocol';
import type { z } from 'zod';
import { AccessError, aNoun } from '../access/access-book.ts';
import { today } from '../access/usage-query.ts';
import { choice, integer, SWITCH, text, type ValueKind } from '../base/option-values.ts';
import { option, type OptionTable } from '../base/options.ts';
import { UsageError } from '../base/usage-error.ts';
import { bookCommand, type Given, type Verb } from './book-command.ts';
import { commandGroup } from './command.ts';
import { table } from './table.ts';

/** A limit that can be taken away again. */
const LIMIT: ValueKind<number | null> = {
  value: 'N|none',
  parse: (given) => (given === 'none' ? null : integer(1, 2 ** 50).parse(given)),
};
const EXPIRY: ValueKind<string | null> = {
  value: 'TIME|none',
  parse: (given) => {
    const parsed = expirySchema.nullable().safeParse(given === 'none' ? null : given);
    if (parsed.success) return parsed.data;
    throw new UsageError(`takes a time like 2030-01-31T12:00:00Z, or none, not "${given}"`);
  },
};

const NOTE = option('note', text('TEXT'), { help: 'what it is for, for admins to read' });
const JSON_OUT = option('json', SWITCH, { help: 'print one JSON document' });
const ALL = option('all', SWITCH, { help: 'those that were revoked, too' });

/** By kind, what may be set when an entry is made and later; the names are those of its schema. */
const SETTINGS: Readonly<Record<AccessKind, OptionTable>> = {
  keys: {
    requestsPerMinute: option('requests-per-minute', LIMIT, { help: 'requests a minute' }),
    tokensPerMinute: option('tokens-per-minute', LIMIT, { help: 'tokens of prompts and answers a minute' }),
    tokensPerDay: option('tokens-per-day', LIMIT, { help: 'tokens of prompts and answers a day, in UTC' }),
    maxConcurrent: option('max-concurrent', LIMIT, { help: 'answers at a time: prompts × n of a request' }),
    note: NOTE,
  },
  invites: {
    maxPeers: option('max-peers', LIMIT, { help: 'tabs at a time' }),
    expires: option('expires', EXPIRY, { help: 'when it stops admitting tabs; those that are in may stay' }),
    note: NOTE,
  },
  admins: {
    role: option('role', choice('operator', 'viewer'), { help: 'a viewer sees everything and changes nothing' }),
    note: NOTE,
  },
};

const WORDS = { keys: 'key', invites: 'invite', admins: 'admin' } as const;

/** How the holder of a new token uses it. */
const HOW: Readonly<Record<AccessKind, (token: string) => string>> = {
  keys: (token) => `header  Authorization: Bearer ${token}`,
  invites: (token) => `link    https://YOUR-HOST/#invite=${token}`,
  admins: (token) => `link    https://YOUR-HOST/console#token=${token}`,
};

/** `shoal key`, `shoal invite` or `shoal admin`. */
export function entryCommands(kind: AccessKind): ReturnType<typeof commandGroup> {
  const noun = aNoun(kind).replace(/^an? /, '');
  const verbs = { add: add(kind), list: list(kind), show: show(kind), limit: limit(kind), revoke: revoke(kind) };
  const commands = Object.entries(verbs).map(([name, verb]) => [name, bookCommand(`${WORDS[kind]} ${name}`, verb)]);
  const about = `Makes, shows, limits and revokes ${noun}s. docs/OPERATIONS.md says what they are for.`;
  return commandGroup(WORDS[kind], about, Object.fromEntries(commands));
}

function add(kind: AccessKind): Verb {
  return {
    about: `Make ${aNoun(kind)}, and print its token, which is shown this once`,
    operand: 'NAME',
    options: { ...SETTINGS[kind], json: JSON_OUT },
    async run(book, given, { stdout }, name) {
      const entry = checked(newEntrySchemas[kind], { name, ...settingsOf(kind, given) });
      const made = await book.add(kind, entry as never);
      if (given['json'] === true) stdout.write(`${JSON.stringify(made, null, 2)}\n`);
      else {
        const shown = `token   ${made.token}\n${HOW[kind](made.token)}\n`;
        stdout.write(
          `${describe(kind, made.entry)}${shown}\nThe token is not shown again: only its SHA-256 is kept.\n`,
        );
      }
    },
  };
}

function list(kind: AccessKind): Verb {
  return {
    about: 'List those in force',
    options: { all: ALL, json: JSON_OUT },
    async run(book, given, { stdout }) {
      const view = await book.view();
      const entries = view[kind].filter(({ revoked }) => given['all'] === true || revoked === null);
      if (given['json'] === true) stdout.write(`${JSON.stringify(entries, null, 2)}\n`);
      else if (entries.length === 0) stdout.write('none\n');
      else
        stdout.write(
          table(
            ['name', 'limits', 'made', 'note'],
            entries.map((entry) => rowOf(kind, entry)),
          ),
        );
    },
  };
}

function show(kind: AccessKind): Verb {
  return {
    about: kind === 'keys' ? 'Show one, and what it used today and over 30 days' : 'Show one',
    operand: 'NAME',
    options: { json: JSON_OUT },
    async run(book, given, { stdout }, name) {
      const entry = (await book.view())[kind].find((one) => one.name === name);
      if (!entry) throw new AccessError('unknown', `There is no ${aNoun(kind).replace(/^an? /, '')} "${name}".`);
      const day = today();
      const usage = kind === 'keys' && {
        today: (await book.usage({ key: name, by: 'model', from: day, to: day })).rows,
        month: (await book.usage({ key: name, by: 'model' })).rows,
      };
      if (given['json'] === true) stdout.write(`${JSON.stringify({ ...entry, ...(usage && { usage }) }, null, 2)}\n`);
      else stdout.write(describe(kind, entry) + (usage ? usageTable(usage) : ''));
    },
  };
}

function limit(kind: AccessKind): Verb {
  return {
    about: kind === 'admins' ? 'Change the role or the note' : 'Change limits or the note; none takes a limit away',
    operand: 'NAME',
    options: SETTINGS[kind],
    async run(book, given, { stdout }, name) {
      const change = checked(entryChangeSchemas[kind], settingsOf(kind, given));
      if (Object.keys(change).length === 0) {
        const flags = Object.values(SETTINGS[kind]).map(({ flag }) => `--${flag}`);
        throw new UsageError(`Say what to change: ${flags.join(', ')}`);
      }
      stdout.write(describe(kind, await book.change(kind, name, change as never)));
    },
  };
}

function revoke(kind: AccessKind): Verb {
  return {
    about: 'Revoke one: its token is refused from now on',
    operand: 'NAME',
    options: {},
    async run(book, _given, { stdout }, name) {
      await book.revoke(kind, name);
      stdout.write(`${name} was revoked.\n`);
    },
  };
}

function settingsOf(kind: AccessKind, given: Given): object {
  const names = Object.keys(SETTINGS[kind]).filter((name) => given[name] !== undefined);
  return Object.fromEntries(names.map((name) => [name, given[name]]));
}

function checked(schema: z.ZodType, value: object): object {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data as object;
  const issue = parsed.error.issues[0]!;
  throw new UsageError(`${issue.path.join('.')} ${issue.message}`);
}

type Entry = EntryViews[AccessKind];

function limitsOf(kind: AccessKind, entry: Entry): string {
  const flags = Object.entries(SETTINGS[kind]).flatMap(([name, { flag }]) => {
    const value = (entry as unknown as Record<string, unknown>)[name];
    return name === 'note' || value === null ? [] : [flag === 'role' ? String(value) : `${flag} ${String(value)}`];
  });
  return flags.length === 0 ? '-' : flags.join(', ');
}

function madeText({ created, by, revoked }: Entry): string {
  const made = created === null ? '-' : `${created.slice(0, 10)} by ${by ?? '-'}`;
  return revoked === null ? made : `${made}, revoked ${revoked.slice(0, 10)}`;
}

function rowOf(kind: AccessKind, entry: Entry): string[] {
  return [entry.name, limitsOf(kind, entry), madeText(entry), entry.note];
}

function describe(kind: AccessKind, entry: Entry): string {
  const note = entry.note === '' ? '' : `note    ${entry.note}\n`;
  return `name    ${entry.name}\nlimits  ${limitsOf(kind, entry)}\nmade    ${madeText(entry)}\n${note}`;
}

function usageTable(usage: Readonly<Record<string, readonly UsageRow[]>>): string {
  const rows = Object.entries(usage).flatMap(([when, used]) =>
    used.map(({ model = '', requests, refusals, promptTokens, completionTokens }) => {
      return [when, model, ...[requests, refusals, promptTokens, completionTokens].map(String)];
    }),
  );
  if (rows.length === 0) return 'usage   none in the last 30 days\n';
  return `\n${table(['usage', 'model', 'requests', 'refused', 'prompt tokens', 'answer tokens'], rows)}`;
}
