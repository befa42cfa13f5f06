import {
  HELP_LINE,
  optionsHelp,
  type OptionTable,
  type OptionValues,
  readOptions,
  wantsHelp,
} from '../base/options.ts';
import { UsageError } from '../base/usage-error.ts';
import { StopSignals } from './stop-signals.ts';

/** Where a command writes: results to `stdout`, progress and errors to `stderr`. */
export interface CommandIo {
  stdout: { write(text: string): unknown };
  stderr: { write(text: string): unknown; isTTY?: boolean };
  /** Where a person answers questions; there is nobody by default. */
  stdin?: NodeJS.ReadableStream & { isTTY?: boolean };
}

export interface CommandSpec<Table extends OptionTable> {
  name: string;
  /** The command lines that the help shows, after `shoal NAME`. */
  usage: readonly string[];
  about: string;
  options: Table;
  /** What comes before the options, as NAME; '' where there is nothing. */
  operand?: string;
  run: (options: OptionValues<Table>, io: CommandIo, operand: string) => Promise<void>;
}

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;
/** What a shell reports for a command that SIGINT ended. */
const EXIT_INTERRUPTED = 130;

/**
 * A command as a function of its arguments that never rejects. Its exit codes: 0 done, 1 failed, 2 wrong usage,
 * 130 interrupted.
 */
export function command<Table extends OptionTable>(
  spec: CommandSpec<Table>,
): (argv: readonly string[], io: CommandIo) => Promise<number> {
  const { name, options, operand, run } = spec;
  return async (argv, io) => {
    try {
      if (wantsHelp(argv)) io.stdout.write(commandHelp(spec));
      else {
        const [given, rest] = takeOperand(operand, argv);
        await run(readOptions(options, rest), io, given);
      }
      return 0;
    } catch (error) {
      io.stderr.write(`shoal ${name}: ${error instanceof Error ? error.message : String(error)}\n`);
      if (error instanceof InterruptedError) return EXIT_INTERRUPTED;
      if (!(error instanceof UsageError)) return EXIT_FAILED;
      io.stderr.write(`See: shoal ${name} --help\n`);
      return EXIT_USAGE;
    }
  };
}

function takeOperand(operand: string | undefined, argv: readonly string[]): [given: string, rest: readonly string[]] {
  if (operand === undefined) return ['', argv];
  const [given, ...rest] = argv;
  if (given === undefined || given.startsWith('-')) throw new UsageError(`${operand} is missing`);
  return [given, rest];
}

type Run = (argv: readonly string[], io: CommandIo) => Promise<number>;

/** A command that consists of others, by their verbs. */
export function commandGroup(
  name: string,
  about: string,
  verbs: Readonly<Record<string, { about: string; run: Run }>>,
): Run {
  const lines = Object.entries(verbs).map(([verb, { about: what }]) => `  ${verb.padEnd(8)} ${what}\n`);
  const help = `usage: shoal ${name} ${Object.keys(verbs).join('|')} …\n\n${about.trim()}\n\n${lines.join('')}
shoal ${name} ${Object.keys(verbs)[0]} --help lists the options.\n`;
  return async ([verb = '', ...argv], io) => {
    if (Object.hasOwn(verbs, verb)) return verbs[verb]!.run(argv, io);
    if (wantsHelp([verb])) {
      io.stdout.write(help);
      return 0;
    }
    io.stderr.write(verb === '' ? help : `shoal ${name}: there is no "${verb}"\n\n${help}`);
    return EXIT_USAGE;
  };
}

export function commandHelp({ name, usage, about, options }: Omit<CommandSpec<OptionTable>, 'run'>): string {
  const lines = usage.map((line, i) => `${i === 0 ? 'usage:' : '      '} shoal ${name} ${line}\n`);
  return `${lines.join('')}\n${about.trim()}\n\n${optionsHelp(options)}${HELP_LINE}`;
}

/** Ctrl-C ended the command. */
export class InterruptedError extends Error {}

/** Runs `work` with a signal that Ctrl-C and SIGTERM abort. */
export async function untilInterrupted(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const stop = new StopSignals();
  try {
    await work(stop.signal);
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    throw new InterruptedError(error instanceof Error ? error.message : String(error), { cause: error });
  } finally {
    stop.close();
  }
}
