import { VERSION } from '../base/version.ts';
import { UsageError } from '../base/usage-error.ts';
import { endAtSignalsAsFirstProcess } from './stop-signals.ts';

interface CommandEntry {
  about: string;
  run: (argv: readonly string[]) => Promise<number>;
}

/** Each command loads its own code only. */
const COMMANDS: Readonly<Record<string, CommandEntry>> = {
  serve: { about: 'start the coordinator', run: async (argv) => (await import('./serve.ts')).runServe(argv) },
  pack: {
    about: 'pack a checkpoint for serving, or check a packed one',
    run: async (argv) => (await import('./pack.ts')).runPack(argv, process),
  },
  donate: {
    about: 'lend this machine’s GPU or processor to a coordinator',
    run: async (argv) => (await import('./donate.ts')).runDonate(argv, process),
  },
  mirror: {
    about: 'a cache of shards for the tabs of one network',
    run: async (argv) => (await import('./mirror.ts')).runMirror(argv, process),
  },
  plan: {
    about: 'what it takes to serve a model: memory, tabs, traffic, speed',
    run: async (argv) => (await import('./plan.ts')).runPlan(argv, process),
  },
  doctor: {
    about: 'check whether this machine can serve: ports, UDP, TURN, GPU, disk, memory, clock, model',
    run: async (argv) => (await import('./doctor/doctor.ts')).runDoctor(argv, process),
  },
  'export-gguf': {
    about: 'write a checkpoint as a GGUF file for llama.cpp',
    run: async (argv) => (await import('./export-gguf.ts')).runExportGguf(argv, process),
  },
  key: {
    about: 'make, list, show, limit and revoke API keys',
    run: async (argv) => (await import('./entry-commands.ts')).entryCommands('keys')(argv, process),
  },
  invite: {
    about: 'the same for invitations to lend',
    run: async (argv) => (await import('./entry-commands.ts')).entryCommands('invites')(argv, process),
  },
  admin: {
    about: 'the same for those who may open the console',
    run: async (argv) => (await import('./entry-commands.ts')).entryCommands('admins')(argv, process),
  },
  access: {
    about: 'show and set the rules of access, or copy an access file',
    run: async (argv) => (await import('./access-commands.ts')).runAccess(argv, process),
  },
  usage: {
    about: 'what API keys have used, by day and model',
    run: async (argv) => (await import('./access-commands.ts')).runUsage(argv, process),
  },
  token: {
    about: 'make a token for an entry of an access file',
    run: async (argv) => (await import('./token.ts')).runToken(argv, process),
  },
  generate: {
    about: 'continue a text, on this machine alone',
    run: async (argv) => (await import('./in-process.ts')).inProcess.generate(argv, process),
  },
  perplexity: {
    about: 'measure a model on a text, on this machine alone',
    run: async (argv) => (await import('./in-process.ts')).inProcess.perplexity(argv, process),
  },
  logits: {
    about: "write a text's logits to a file, on this machine alone",
    run: async (argv) => (await import('./in-process.ts')).inProcess.logits(argv, process),
  },
};

const HELP = `usage: shoal COMMAND [options]

${Object.entries(COMMANDS)
  .map(([name, { about }]) => `  ${name.padEnd(13)} ${about}\n`)
  .join('')}
shoal COMMAND --help lists the options of a command, and shoal --version prints the version.
`;

async function run([name, ...argv]: readonly string[]): Promise<number> {
  if (name === undefined || ['help', '--help', '-h'].includes(name)) {
    process.stdout.write(HELP);
    return name === undefined ? 2 : 0;
  }
  if (['version', '--version', '-v'].includes(name)) {
    process.stdout.write(`${VERSION}\n`);
    return 0;
  }
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command) return command.run(argv);
  process.stderr.write(`shoal: there is no command "${name}"\n\n${HELP}`);
  return 2;
}

endAtSignalsAsFirstProcess();
try {
  process.exitCode = await run(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`shoal: ${describe(error)}\n`);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}

/** What went wrong, for the operator. Only an error that may be a bug has its stack. */
function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code, syscall } = error as NodeJS.ErrnoException;
  if (code === 'EADDRINUSE')
    return `${error.message}. Another program uses it: choose another with --port, or several as FIRST-LAST.`;
  if (syscall === 'listen' || syscall === 'bind' || syscall === 'getaddrinfo') {
    return `${error.message}. Choose another address with --host or --port.`;
  }
  const isExpected = error.name !== 'Error' && !/^(Type|Range|Reference|Syntax)Error$/.test(error.name);
  return isExpected ? error.message : (error.stack ?? error.message);
}
