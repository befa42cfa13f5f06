import { parseArgs } from 'node:util';
import { openPacked, packModel } from '@shoal/weights/node';
import { QUANTS, type Manifest, type Quant } from '@shoal/weights';
import { type CommandIo, formatBytes, progressLine } from './progress.ts';

const HELP = `shoal pack --model DIR --out DIR --quant ${QUANTS.join('|')} [options]

Packs the routed experts of a checkpoint as content-addressed shards, one per layer and expert.
Interrupted (Ctrl-C), it keeps what is finished; the same command goes on from there.

  --model DIR    a Hugging Face model directory (config.json and *.safetensors)
  --out DIR      where the packed model goes
  --quant KIND   f16, q8 or q4 (int8, or 4 bits, in blocks of 32 with an f16 scale)
  --verify       read everything back afterwards and check every hash
  --json         print one JSON document on stdout at the end
  --help         print this
`;

/** As a shell reports a command that SIGINT ended. */
const EXIT_INTERRUPTED = 130;
const EXIT_USAGE = 2;

/** `shoal pack`. Resolves with the exit code: 0 packed, 1 failed, 2 wrong usage, 130 interrupted. */
export async function runPack(argv: readonly string[], io: CommandIo): Promise<number> {
  const options = parseOptions(argv, io);
  if (typeof options === 'number') return options;
  const abort = new AbortController();
  const onInterrupt = (): void => abort.abort();
  process.once('SIGINT', onInterrupt);
  try {
    await pack(options, io, abort.signal);
    return 0;
  } catch (error) {
    io.stderr.write(`\nshoal pack: ${error instanceof Error ? error.message : String(error)}\n`);
    return abort.signal.aborted ? EXIT_INTERRUPTED : 1;
  } finally {
    process.removeListener('SIGINT', onInterrupt);
  }
}

interface PackCommand {
  model: string;
  out: string;
  quant: Quant;
  verify: boolean;
  json: boolean;
}

/** The command, or the exit code where there is nothing to do. */
function parseOptions(argv: readonly string[], io: CommandIo): PackCommand | number {
  const refuse = (message: string): number => {
    io.stderr.write(`shoal pack: ${message}\nSee: shoal pack --help\n`);
    return EXIT_USAGE;
  };
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: {
        model: { type: 'string' },
        out: { type: 'string' },
        quant: { type: 'string' },
        verify: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    });
    if (values.help) {
      io.stdout.write(HELP);
      return 0;
    }
    const { model, out, quant, verify, json } = values;
    if (!model) return refuse('--model DIR is missing');
    if (!out) return refuse('--out DIR is missing');
    const format = QUANTS.find((name) => name === quant);
    if (!format) return refuse(`--quant is ${quant ?? 'missing'}; use ${QUANTS.join(', ')}`);
    return { model, out, quant: format, verify, json };
  } catch (error) {
    return refuse(error instanceof Error ? error.message : String(error));
  }
}

async function pack(command: PackCommand, io: CommandIo, signal: AbortSignal): Promise<void> {
  const startedMs = performance.now();
  const { model: modelDir, out: outDir, quant } = command;
  const packing = progressLine(io, 'packing');
  const manifest = await packModel({ modelDir, outDir, quant, signal, onProgress: packing.update });
  packing.end();
  if (command.verify) {
    const checking = progressLine(io, 'checking');
    const packed = await openPacked(outDir);
    const verifyStartedMs = performance.now();
    await packed.verify(({ doneBytes, totalBytes }) => {
      const bytesPerSecond = (doneBytes * 1000) / (performance.now() - verifyStartedMs);
      checking.update({ doneBytes, totalBytes, bytesPerSecond, etaS: (totalBytes - doneBytes) / bytesPerSecond });
    }, signal);
    checking.end();
  }
  report(command, manifest, (performance.now() - startedMs) / 1000, io);
}

function report(command: PackCommand, manifest: Manifest, seconds: number, io: CommandIo): void {
  const hashes = manifest.moeLayers.flatMap((layer) => manifest.shards[layer]!);
  const distinct = new Set(hashes).size;
  if (command.json) {
    const { modelId, modelDigest, shape, shardBytes, moeLayers, expertsPerLayer } = manifest;
    const counts = { experts: hashes.length, shards: distinct, totalBytes: distinct * shardBytes };
    const document = {
      out: command.out,
      modelId,
      modelDigest,
      shape,
      shardBytes,
      moeLayers,
      expertsPerLayer,
      ...counts,
    };
    io.stdout.write(`${JSON.stringify({ ...document, verified: command.verify, seconds }, null, 2)}\n`);
    return;
  }
  io.stdout.write(
    `${manifest.modelId}: ${hashes.length} experts in ${distinct} shards of ${formatBytes(manifest.shardBytes)} (${command.quant}), ` +
      `${formatBytes(distinct * manifest.shardBytes)} in ${command.out}${command.verify ? ', every hash checked' : ''}\n`,
  );
}
