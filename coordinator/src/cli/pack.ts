import { parseArgs } from 'node:util';
import { DENSE_FORMATS, type DenseFormat, type Manifest, QUANTS, type Quant } from '@shoal/weights';
import { openPacked, packModel, type PackedModel } from '@shoal/weights/node';
import { MAX_THREADS } from '../config.ts';
import { type CommandIo, formatBytes, progressLine } from './progress.ts';

const HELP = `shoal pack --model DIR --out DIR --quant KIND [options]
shoal pack --verify --out DIR

Packs a checkpoint as a model directory of its own: the routed experts as content-addressed shards, the coordinator's own weights
in one file, config and tokenizer beside them. serve, generate, perplexity and logits take it as --model; the checkpoint is not
needed any more. Interrupted (Ctrl-C, a kill, a full disk), what is finished is kept; the same command goes on from there.

  --model DIR          a Hugging Face model directory (config.json and *.safetensors)
  --out DIR            where the packed model goes
  --quant KIND         of the experts: ${QUANTS.join(', ')} (int8, or 4 bits, in blocks of 32 with an f16 scale)
  --dense-quant KIND   of the coordinator's own weights: ${DENSE_FORMATS.join(', ')} (f16)
  --threads N          threads that pack (as many as cores, within 1 GiB of memory)
  --report             measure what packing changes in each kind of tensor, and print it: takes about half as long again
  --verify             read everything back afterwards and check every hash; without --model, of a model packed before
  --json               print one JSON document on stdout at the end
  --help               print this
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
  /** undefined: only check what is in `out`. */
  model: string | undefined;
  out: string;
  quant: Quant | undefined;
  denseQuant: DenseFormat | undefined;
  threads: number | undefined;
  report: boolean;
  verify: boolean;
  json: boolean;
}

const text = { type: 'string' } as const;
const flag = { type: 'boolean', default: false } as const;

/** The command, or the exit code where there is nothing to do. */
function parseOptions(argv: readonly string[], io: CommandIo): PackCommand | number {
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: {
        model: text,
        out: text,
        quant: text,
        'dense-quant': text,
        threads: text,
        report: flag,
        verify: flag,
        json: flag,
        help: flag,
      },
    });
    if (values.help) {
      io.stdout.write(HELP);
      return 0;
    }
    const { model, out, quant, threads, report, verify, json } = values;
    if (!model && !verify) throw new Error('--model DIR is missing');
    if (!out) throw new Error('--out DIR is missing');
    if (model && quant === undefined) throw new Error(`--quant is missing; use ${QUANTS.join(', ')}`);
    const denseQuant = values['dense-quant'];
    return {
      model,
      out,
      quant: quant === undefined ? undefined : oneOf('--quant', QUANTS, quant),
      denseQuant: denseQuant === undefined ? undefined : oneOf('--dense-quant', DENSE_FORMATS, denseQuant),
      threads: threads === undefined ? undefined : parseThreads(threads),
      report,
      verify,
      json,
    };
  } catch (error) {
    io.stderr.write(`shoal pack: ${error instanceof Error ? error.message : String(error)}\nSee: shoal pack --help\n`);
    return EXIT_USAGE;
  }
}

function oneOf<const T extends string>(name: string, allowed: readonly T[], given: string): T {
  const found = allowed.find((value) => value === given);
  if (found === undefined) throw new Error(`${name} is ${given}; use ${allowed.join(', ')}`);
  return found;
}

function parseThreads(given: string): number {
  if (/^\d{1,3}$/.test(given) && Number(given) <= MAX_THREADS) return Number(given);
  throw new Error(`--threads takes a whole number from 0 (this thread alone) to ${MAX_THREADS}, not "${given}"`);
}

async function pack(command: PackCommand, io: CommandIo, signal: AbortSignal): Promise<void> {
  const startedMs = performance.now();
  if (command.model !== undefined) await packWith(command, command.model, io, signal);
  const packed = await openPacked(command.out);
  if (command.verify) await verify(packed, io, signal);
  report(command, packed.manifest, (performance.now() - startedMs) / 1000, io);
}

async function packWith(command: PackCommand, modelDir: string, io: CommandIo, signal: AbortSignal): Promise<void> {
  const { out: outDir, quant, denseQuant, threads, report: measure } = command;
  const packing = progressLine(io, 'packing');
  await packModel({
    modelDir,
    outDir,
    quant: quant!,
    measure,
    ...(denseQuant && { denseQuant }),
    ...(threads !== undefined && { threads }),
    signal,
    onProgress: packing.update,
  });
  packing.end();
}

async function verify(packed: PackedModel, io: CommandIo, signal: AbortSignal): Promise<void> {
  const checking = progressLine(io, 'checking');
  const startedMs = performance.now();
  await packed.verify(({ doneBytes, totalBytes }) => {
    const bytesPerSecond = (doneBytes * 1000) / (performance.now() - startedMs);
    checking.update({ doneBytes, totalBytes, bytesPerSecond, etaS: (totalBytes - doneBytes) / bytesPerSecond });
  }, signal);
  checking.end();
}

function report(command: PackCommand, manifest: Manifest, seconds: number, io: CommandIo): void {
  const { modelId, modelDigest, shape, shardBytes, expertLayers, expertsPerLayer, dense, nmse } = manifest;
  const hashes = expertLayers.flatMap((layer) => manifest.shards[layer]!);
  const distinct = new Set(hashes).size;
  const { out, verify: verified } = command;
  if (command.json) {
    const counts = { experts: hashes.length, shards: distinct, totalBytes: distinct * shardBytes + dense.bytes };
    const own = { denseFormat: dense.format, denseBytes: dense.bytes };
    const model = { out, modelId, modelDigest, shape, shardBytes, expertLayers, expertsPerLayer };
    io.stdout.write(`${JSON.stringify({ ...model, ...own, ...counts, nmse, verified, seconds }, null, 2)}\n`);
    return;
  }
  io.stdout.write(
    `${modelId}: ${hashes.length} experts in ${distinct} shards of ${formatBytes(shardBytes)} (${shape.quant}), ` +
      `${formatBytes(dense.bytes)} of the coordinator's own weights (${dense.format}), ` +
      `${formatBytes(distinct * shardBytes + dense.bytes)} in ${out}${verified ? ', every hash checked' : ''}\n`,
  );
  if (!command.report || !nmse) return;
  const width = Math.max(...Object.keys(nmse).map((kind) => kind.length));
  io.stdout.write('Normalised mean squared error of packing, by kind of tensor:\n');
  for (const [kind, value] of Object.entries(nmse)) {
    io.stdout.write(`  ${kind.padEnd(width)}  ${value === 0 ? '0' : value.toExponential(2)}\n`);
  }
}
