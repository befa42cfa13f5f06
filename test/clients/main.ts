import { parseArgs } from 'node:util';
import { tryNodeSet } from './node-set.ts';
import { ensureVenv, pythonPrograms, tryPythonProgram } from './python-set.ts';
import { startForClients } from './start-coordinator.ts';
import { report, type Trial } from './trial.ts';

const HELP = `npm run clients -- [PROGRAM...]

Tries other people's programs on a coordinator of the default model, or of an encoder of ours, each at what its own documentation shows first, and
prints what passed. Exits with 1 if anything failed. The model writes nothing that makes sense; that calls and JSON are right
is the grammars' doing.

PROGRAM is "node" (the vitest project \`clients\`, which \`npm test\` runs too) or one of the Python programs:
${pythonPrograms().join(', ')}. All by default.

The Python programs are installed once, at pinned versions, into .cache/clients/venv, by pip.
`;

/** How the names of programs for encoders end. */
const EMBEDDINGS = '_embeddings';

const { positionals, values } = parseArgs({ allowPositionals: true, options: { help: { type: 'boolean' } } });
const known = ['node', ...pythonPrograms()];
const unknown = positionals.find((name) => !known.includes(name));
if (values.help || unknown !== undefined) {
  process.stderr.write(
    unknown === undefined ? HELP : `There is no program "${unknown}". Known: ${known.join(', ')}.\n`,
  );
  process.exit(unknown === undefined ? 0 : 2);
}
const trials = await tryAll(positionals.length > 0 ? positionals : known);
process.stdout.write(`${report(trials)}\n`);
process.exitCode = trials.every(({ error }) => error === undefined) ? 0 : 1;

async function tryAll(names: readonly string[]): Promise<Trial[]> {
  const all = names.includes('node') ? await tryNodeSet() : [];
  const programs = names.filter((name) => name !== 'node');
  if (programs.length === 0) return all;
  const python = ensureVenv();
  for (const served of ['text', 'encoder'] as const) {
    const own = programs.filter((name) => (served === 'encoder') === name.endsWith(EMBEDDINGS));
    if (own.length === 0) continue;
    const coordinator = await startForClients(served);
    try {
      for (const name of own) {
        process.stderr.write(`clients: ${name}\n`);
        all.push(...(await tryPythonProgram(name, python, coordinator.url)));
      }
    } finally {
      await coordinator.close();
    }
  }
  return all;
}
