import { parseArgs } from 'node:util';
import { digestOf, newToken } from '../access/token.ts';
import { UsageError } from '../config.ts';

const TOKEN_HELP = `shoal token [--name NAME]

Makes a random token, for an invitation, an API key or an admin, and the entry of the access file that goes with it
(see serve --access). The token itself is stored nowhere: hand it to its owner.
`;
/** As the access file takes it. */
const NAME = /^[\w.-]{1,40}$/;

export function runToken(argv: readonly string[], io: { stdout: { write(text: string): unknown } }): number {
  let values: { name?: string | undefined; help?: boolean | undefined };
  try {
    ({ values } = parseArgs({
      args: [...argv],
      options: { name: { type: 'string' }, help: { type: 'boolean', short: 'h' } },
    }));
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
  if (values.help) {
    io.stdout.write(TOKEN_HELP);
    return 0;
  }
  const { name = 'unnamed' } = values;
  if (!NAME.test(name)) {
    throw new UsageError(`--name takes 1 to 40 letters, digits, ".", "_" or "-", not "${name}"`);
  }
  const token = newToken();
  const entry = JSON.stringify({ name, sha256: digestOf(token).toString('hex') });
  io.stdout.write(`token  ${token}\nentry  ${entry}\n`);
  return 0;
}
