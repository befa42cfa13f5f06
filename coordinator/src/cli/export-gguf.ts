import { parseArgs } from 'node:util';
import { exportGguf, type GgufType } from '@shoal/weights/node';
import { type CommandIo, progressLine } from './progress.ts';

const TYPES: readonly GgufType[] = ['f32', 'f16', 'q8_0', 'q4_0'];

const HELP = `shoal export-gguf --model DIR --out FILE [--type ${TYPES.join('|')}]

Writes a deepseek_v2 or deepseek_v3 checkpoint as a GGUF file (architecture deepseek2) that llama.cpp loads, to hold our
numbers against it. The MTP module is left out.

  --model DIR    a Hugging Face model directory
  --out FILE     the file; it appears when it is whole
  --type TYPE    of matrices, in llama.cpp's formats and by its rules (f32); norms, gates and biases stay f32
  --help         print this
`;

/** As a shell reports a command that SIGINT ended. */
const EXIT_INTERRUPTED = 130;
const EXIT_USAGE = 2;

/** `shoal export-gguf`. Resolves with the exit code: 0 written, 1 failed, 2 wrong usage, 130 interrupted. */
export async function runExportGguf(argv: readonly string[], io: CommandIo): Promise<number> {
  const options = parseOptions(argv, io);
  if (typeof options === 'number') return options;
  const abort = new AbortController();
  const onInterrupt = (): void => abort.abort();
  process.once('SIGINT', onInterrupt);
  const line = progressLine(io, 'writing');
  const startedMs = performance.now();
  try {
    await exportGguf({
      ...options,
      signal: abort.signal,
      onProgress: ({ doneBytes, totalBytes }) => {
        const bytesPerSecond = (doneBytes * 1000) / (performance.now() - startedMs);
        line.update({ doneBytes, totalBytes, bytesPerSecond, etaS: (totalBytes - doneBytes) / bytesPerSecond });
      },
    });
    line.end();
    io.stdout.write(`${options.out}: ${options.type}\n`);
    return 0;
  } catch (error) {
    io.stderr.write(`\nshoal export-gguf: ${error instanceof Error ? error.message : String(error)}\n`);
    return abort.signal.aborted ? EXIT_INTERRUPTED : 1;
  } finally {
    process.removeListener('SIGINT', onInterrupt);
  }
}

interface ExportCommand {
  modelDir: string;
  out: string;
  type: GgufType;
}

function parseOptions(argv: readonly string[], io: CommandIo): ExportCommand | number {
  const refuse = (message: string): number => {
    io.stderr.write(`shoal export-gguf: ${message}\nSee: shoal export-gguf --help\n`);
    return EXIT_USAGE;
  };
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: {
        model: { type: 'string' },
        out: { type: 'string' },
        type: { type: 'string', default: 'f32' },
        help: { type: 'boolean', default: false },
      },
    });
    if (values.help) {
      io.stdout.write(HELP);
      return 0;
    }
    if (!values.model) return refuse('--model DIR is missing');
    if (!values.out) return refuse('--out FILE is missing');
    const type = TYPES.find((known) => known === values.type);
    if (type === undefined) return refuse(`--type is ${values.type}; use ${TYPES.join(', ')}`);
    return { modelDir: values.model, out: values.out, type };
  } catch (error) {
    return refuse(error instanceof Error ? error.message : String(error));
  }
}
