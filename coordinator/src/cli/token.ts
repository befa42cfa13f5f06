import { digestOf, newToken } from '../access/token.ts';
import { readOptions, wantsHelp } from '../base/options.ts';
import { UsageError } from '../base/usage-error.ts';
import { type CommandIo, commandHelp } from './command.ts';

/** A name that the access file accepts. */
const NAME = /^[\w.-]{1,40}$/;

const OPTIONS = {
  name: {
    flag: 'name',
    value: 'NAME',
    default: 'unnamed',
    help: 'name of the entry',
    parse: (given: string) => {
      if (NAME.test(given)) return given;
      throw new UsageError(`takes 1 to 40 letters, digits, ".", "_" or "-", not "${given}"`);
    },
  },
};

const HELP = commandHelp({
  name: 'token',
  usage: ['[--name NAME]'],
  about: `
Makes a random token for an invitation, an API key or an admin, and prints it with its entry for the access file (see
serve --access). The token itself is not stored anywhere: give it to its owner.`,
  options: OPTIONS,
});

/** `shoal token`. Throws a UsageError that names the option. */
export function runToken(argv: readonly string[], io: Pick<CommandIo, 'stdout'>): number {
  if (wantsHelp(argv)) {
    io.stdout.write(HELP);
    return 0;
  }
  const { name } = readOptions(OPTIONS, argv);
  const token = newToken();
  const entry = JSON.stringify({ name, sha256: digestOf(token).toString('hex') });
  io.stdout.write(`token  ${token}\nentry  ${entry}\n`);
  return 0;
}
