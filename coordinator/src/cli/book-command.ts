import type { AccessBook } from '../access/access-book.ts';
import type { OptionTable } from '../base/options.ts';
import { command, type CommandIo } from './command.ts';
import { PLACE_OPTIONS, type PlaceOptions, withBook, withPlaceFromEnvironment } from './open-book.ts';

/** The options that a verb was given, by their names. */
export type Given = Readonly<Record<string, unknown>>;

/** One thing to do with the books. */
export interface Verb {
  about: string;
  /** Whether a name comes first. */
  operand?: string;
  options: OptionTable;
  run(book: AccessBook, given: Given, io: CommandIo, operand: string): Promise<void>;
}

/** `shoal GROUP VERB`, with the options that say where the books are. */
export function bookCommand(name: string, { about, operand, options, run }: Verb) {
  const runOne = command({
    name,
    usage: [`${operand === undefined ? '' : `${operand} `}[options]`],
    about: `${about}.`,
    options: { ...options, ...PLACE_OPTIONS },
    ...(operand !== undefined && { operand }),
    run: (given, io, named) => withBook(given as PlaceOptions, (book) => run(book, given, io, named)),
  });
  return {
    about,
    run: (argv: readonly string[], io: CommandIo) => runOne(withPlaceFromEnvironment(argv, process.env), io),
  };
}
