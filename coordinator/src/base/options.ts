import { parseArgs } from 'node:util';
import type { ValueKind } from './option-values.ts';
import { UsageError } from './usage-error.ts';

interface OptionTexts {
  /** The value without the option, written as on the command line. */
  default?: string;
  /** For help and docs in place of `default`: how the default reads, or what happens without the option. */
  defaultText?: string;
  required?: true;
  /** Whether it may be given several times: the values are parsed as one, joined by commas. */
  many?: true;
  help: string;
  /** Sentences for the docs alone, in Markdown. */
  more?: string;
}

/** One option of a command. */
export interface Option<T = unknown> extends ValueKind<T>, OptionTexts {
  flag: string;
}

export function option<Kind extends ValueKind<unknown>, const Texts extends OptionTexts>(
  flag: string,
  kind: Kind,
  texts: Texts,
): { flag: string } & Kind & Texts {
  return { flag, ...kind, ...texts };
}

export type OptionTable = Readonly<Record<string, Option>>;

/** The parsed options of a table. Undefined only where an option has no default and is not required. */
export type OptionValues<Table extends OptionTable> = {
  [Name in keyof Table]: Table[Name] extends { default: string } | { required: true }
    ? ReturnType<Table[Name]['parse']>
    : ReturnType<Table[Name]['parse']> | undefined;
};

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Reads flags first, then the environment where there is one (an empty variable counts as unset), then defaults.
 * Throws a UsageError that names the option.
 */
export function readOptions<Table extends OptionTable>(
  table: Table,
  argv: readonly string[],
  env?: Environment,
): OptionValues<Table> {
  const flags = parseFlags(table, argv);
  const read = (option: Option): unknown => {
    const given = flags[option.flag] ?? ((env && env[variableOf(option)]) || undefined) ?? option.default;
    const name = `--${option.flag}${env ? ` (${variableOf(option)})` : ''}`;
    if (given === undefined) {
      if (option.required) throw new UsageError(`--${option.flag} ${option.value} is missing`);
      return undefined;
    }
    try {
      return option.parse(given === true ? '1' : given);
    } catch (error) {
      throw error instanceof UsageError ? new UsageError(`${name} ${error.message}`, { cause: error }) : error;
    }
  };
  const values = Object.entries(table).map(([name, option]) => [name, read(option)]);
  return Object.fromEntries(values) as OptionValues<Table>;
}

function parseFlags(table: OptionTable, argv: readonly string[]): Record<string, string | true | undefined> {
  const types = Object.values(table).map(({ flag, value, many = false }) => {
    return [flag, { type: value === undefined ? 'boolean' : 'string', multiple: many }] as const;
  });
  try {
    const { values } = parseArgs({ args: [...argv], options: Object.fromEntries(types) });
    const joined = Object.entries(values).map(([flag, value]) => [
      flag,
      Array.isArray(value) ? value.join(',') : value,
    ]);
    return Object.fromEntries(joined) as Record<string, string | true>;
  } catch (error) {
    throw new UsageError((error as Error).message, { cause: error });
  }
}

/** The environment variable of an option: `--max-batch` is SHOAL_MAX_BATCH. */
export function variableOf({ flag }: Option): string {
  return `SHOAL_${flag.toUpperCase().replaceAll('-', '_')}`;
}

export function wantsHelp(argv: readonly string[]): boolean {
  return argv.includes('--help') || argv.includes('-h');
}

const HELP_COLUMN = 26;

/** A line per option, for --help. */
export function optionsHelp(table: OptionTable, { variables = false } = {}): string {
  const lines = Object.values(table).map((option) => {
    const shown = defaultOf(option);
    const text = `${option.help}${shown === undefined ? '' : ` (${shown})`}`;
    return `  ${usageOf(option).padEnd(HELP_COLUMN - 2)} ${text}${variables ? `  [${variableOf(option)}]` : ''}\n`;
  });
  return lines.join('');
}

export const HELP_LINE = `  ${'--help'.padEnd(HELP_COLUMN - 2)} print this\n`;

/** A Markdown table with a row per option. */
export function optionsMarkdown(table: OptionTable): string {
  const code = (text: string): string => `\`${text.replaceAll('|', '\\|')}\``;
  const rows = Object.values(table).map((option) => {
    const { value, help, more, default: plain, defaultText } = option;
    const variable = `${variableOf(option)}${value === undefined ? '=1' : ''}`;
    const meaning = `${help[0]!.toUpperCase()}${help.slice(1)}.${more === undefined ? '' : ` ${more}`}`;
    const shown = value === undefined ? 'off' : (defaultText ?? code(plain!));
    return `| ${code(usageOf(option))} | ${code(variable)} | ${meaning} | ${shown} |\n`;
  });
  return `| flag | environment | meaning | default |\n| --- | --- | --- | --- |\n${rows.join('')}`;
}

function usageOf({ flag, value }: Option): string {
  return `--${flag}${value === undefined ? '' : ` ${value}`}`;
}

function defaultOf({ value, default: plain, defaultText }: Option): string | undefined {
  return value === undefined ? undefined : (defaultText ?? plain);
}
