import { ADDRESS_LIMITS, type RulesChange, USAGE_PARTS, usageQuerySchema } from '@shoal/protocol';
import { readAccessFile } from '../access/access-file.ts';
import { usageCsv, usageWindow } from '../access/usage-query.ts';
import { choice, integer, SWITCH, text, type ValueKind } from '../base/option-values.ts';
import { option, type OptionTable } from '../base/options.ts';
import { UsageError } from '../base/usage-error.ts';
import { bookCommand, type Verb } from './book-command.ts';
import { commandGroup } from './command.ts';
import { table } from './table.ts';

/** A rule that can be left to what follows from the lists. */
const orDefault = <T>(kind: ValueKind<T>): ValueKind<T | null> => ({
  value: `${kind.value}|default`,
  parse: (given) => (given === 'default' ? null : kind.parse(given)),
});

const flagOf = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

const RULES: OptionTable = {
  api: option('api', orDefault(choice('keys', 'open')), {
    help: 'whether the API requires a key; by default once one was made',
  }),
  swarm: option('swarm', orDefault(choice('invited', 'open')), {
    help: 'whether donors need an invitation; by default once one was made',
  }),
  metrics: option('metrics', orDefault(choice('admins', 'open')), {
    help: 'who may read /metrics; by default admins, once one was made',
  }),
  ...Object.fromEntries(
    ADDRESS_LIMITS.map((name) => [
      name,
      option(flagOf(name), orDefault(integer(1, 2 ** 50)), { help: `the limit ${name}` }),
    ]),
  ),
};

const set: Verb = {
  about: 'Change the rules',
  options: RULES,
  async run(book, given, { stdout }) {
    const names = Object.keys(RULES).filter((name) => given[name] !== undefined);
    if (names.length === 0)
      throw new UsageError(
        `Say what to change: ${Object.values(RULES)
          .map(({ flag }) => `--${flag}`)
          .join(', ')}`,
      );
    await book.setRules(Object.fromEntries(names.map((name) => [name, given[name]])) as RulesChange);
    stdout.write('The rules were changed.\n');
  },
};

const show: Verb = {
  about: 'Show the rules, and how many keys, invitations and admins there are',
  options: { json: option('json', SWITCH, { help: 'print one JSON document, with the lists' }) },
  async run(book, given, { stdout }) {
    const view = await book.view();
    if (given['json'] === true) return void stdout.write(`${JSON.stringify(view, null, 2)}\n`);
    const { source, file, rules, keys, invites, admins } = view;
    const count = (list: readonly { revoked: string | null }[]): string =>
      `${list.filter(({ revoked }) => revoked === null).length} in force`;
    const limits = ADDRESS_LIMITS.map((name) => [flagOf(name), String(rules.limits[name])]);
    const rows = [
      ['rules from', file ?? source],
      ['api', rules.api],
      ['swarm', rules.swarm],
      ['metrics', rules.metrics],
      ...limits,
      ['keys', count(keys)],
      ['invitations', count(invites)],
      ['admins', count(admins)],
    ];
    stdout.write(rows.map(([name = '', value = '']) => `${name.padEnd(34)}${value}\n`).join(''));
  },
};

const importFile: Verb = {
  about: 'Copy an access file (serve --access) into the database. Entries of the same names are replaced, others stay',
  operand: 'FILE',
  options: {},
  async run(book, _given, { stdout, stderr }, path) {
    const { file, warnings } = readAccessFile(path);
    for (const warning of warnings) stderr.write(`shoal: ${warning}\n`);
    const { copied, revoked } = await book.import(file);
    for (const { kind, name } of revoked) stderr.write(`shoal: ${kind}: ${name} was revoked here, and stays so\n`);
    stdout.write(
      `Copied ${copied.length} entries and the rules of ${path}. Start coordinators without --access from now on.\n`,
    );
  },
};

/** `shoal access`. */
export const runAccess = commandGroup(
  'access',
  'The rules of who may do what, beside the lists of keys, invitations and admins.',
  {
    show: bookCommand('access show', show),
    set: bookCommand('access set', set),
    import: bookCommand('access import', importFile),
  },
);

const usage: Verb = {
  about: 'Print what API keys have used, by default over the last 30 days',
  options: {
    from: option('from', text('DAY'), { help: 'first day, in UTC, like 2030-01-01' }),
    to: option('to', text('DAY'), { help: 'last day' }),
    key: option('key', text('NAME'), { help: 'of this key alone' }),
    model: option('model', text('NAME'), { help: 'of this model alone' }),
    by: option('by', text('PART,…'), { help: `what rows are told apart by: ${USAGE_PARTS.join(', ')} (default: all)` }),
    csv: option('csv', SWITCH, { help: 'print CSV' }),
    json: option('json', SWITCH, { help: 'print one JSON document' }),
  },
  async run(book, { from, to, key, model, by, csv, json }, { stdout }) {
    const parsed = usageQuerySchema.safeParse({ from, to, key, model, by });
    if (!parsed.success) {
      const [issue] = parsed.error.issues;
      throw new UsageError(`--${issue!.path.join('.')} ${issue!.message}`);
    }
    const report = await book.usage(parsed.data);
    const { by: parts } = usageWindow(parsed.data);
    if (json === true) stdout.write(`${JSON.stringify(report, null, 2)}\n`);
    else if (csv === true) stdout.write(usageCsv(report, parts));
    else {
      const heads = [...parts, 'requests', 'refused', 'prompt tokens', 'answer tokens'];
      const rows = report.rows.map(({ requests, refusals, promptTokens, completionTokens, ...names }) => [
        ...parts.map((part) => names[part] || '-'),
        ...[requests, refusals, promptTokens, completionTokens].map(String),
      ]);
      stdout.write(`${report.from} to ${report.to}\n${table(heads, rows)}`);
    }
  },
};

/** `shoal usage`. */
export const runUsage = bookCommand('usage', usage).run;
