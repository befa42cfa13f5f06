import { UsageError } from '../config.ts';

const HELP = `shoal COMMAND [options]

  serve         start the coordinator
  pack          pack a checkpoint for serving, or check a packed one
  plan          what it takes to serve a model: memory, tabs, traffic, speed
  export-gguf   write a checkpoint as a GGUF file for llama.cpp
  token         make a token for an invitation, an API key or an admin
  generate      continue a text, on this machine alone
  perplexity    measure a model on a text, on this machine alone
  logits        write a text's logits to a file, on this machine alone

shoal COMMAND --help tells the options of a command.
`;

async function run(argv: readonly string[]): Promise<number> {
  const [command, ...rest] = argv;
  switch (command) {
    case 'serve':
      return (await import('./serve.ts')).runServe(rest);
    case 'pack':
      return (await import('./pack.ts')).runPack(rest, process);
    case 'plan':
      return (await import('./plan.ts')).runPlan(rest, process);
    case 'export-gguf':
      return (await import('./export-gguf.ts')).runExportGguf(rest, process);
    case 'token':
      return (await import('./token.ts')).runToken(rest, process);
    case 'generate':
    case 'perplexity':
    case 'logits':
      return (await import('./in-process.ts')).runLocalCommand(command, rest, process);
    case undefined:
    case 'help':
    case '--help':
    case '-h':
      process.stdout.write(HELP);
      return command === undefined ? 2 : 0;
    default:
      process.stderr.write(`shoal: there is no command "${command}"\n\n${HELP}`);
      return 2;
  }
}

try {
  process.exitCode = await run(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`shoal: ${describe(error)}\n`);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}

/** What went wrong, for a person; the stack only where it is our own fault. */
function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') {
    return `${error.message}. Another program has this port: choose one with --port.`;
  }
  const { syscall } = error as NodeJS.ErrnoException;
  if (syscall === 'listen' || syscall === 'bind' || syscall === 'getaddrinfo') {
    return `${error.message}. Choose another address with --host or --port.`;
  }
  const expected = error.name !== 'Error' && !/^(Type|Range|Reference|Syntax)Error$/.test(error.name);
  return expected ? error.message : (error.stack ?? error.message);
}
