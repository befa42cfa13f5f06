import { parseArgs } from 'node:util';
import { openPacked, packModel, type PackProgress } from '@shoal/weights/node';
import { QUANTS, type Manifest, type Quant } from '@shoal/weights';

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

export interface PackIo {
  stdout: { write(text: string): unknown };
  stderr: { write(text: string): unknown; isTTY?: boolean };
}

/** Progress lines that people read: more often only flickers, and fills a log. */
const TTY_INTERVAL_MS = 100;
const LOG_INTERVAL_MS = 5_000;
/** As a shell reports a command that SIGINT ended. */
const EXIT_INTERRUPTED = 130;
const EXIT_USAGE = 2;

/** `shoal pack`. Resolves with the exit code: 0 packed, 1 failed, 2 wrong usage, 130 interrupted. */
export async function runPack(argv: readonly string[], io: PackIo): Promise<number> {
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
function parseOptions(argv: readonly string[], io: PackIo): PackCommand | number {
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

async function pack(command: PackCommand, io: PackIo, signal: AbortSignal): Promise<void> {
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

function report(command: PackCommand, manifest: Manifest, seconds: number, io: PackIo): void {
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

/** One line rewritten in place on a terminal, a line now and then in a log. */
function progressLine(io: PackIo, verb: string): { update: (progress: PackProgress) => void; end: () => void } {
  const isTty = io.stderr.isTTY === true;
  const intervalMs = isTty ? TTY_INTERVAL_MS : LOG_INTERVAL_MS;
  let lastMs = Number.NEGATIVE_INFINITY;
  let shown = false;
  return {
    update: (progress) => {
      const isLast = progress.doneBytes === progress.totalBytes;
      if (!isLast && performance.now() - lastMs < intervalMs) return;
      lastMs = performance.now();
      shown = true;
      io.stderr.write(`${isTty ? '\r\u001B[K' : ''}${formatProgress(verb, progress)}${isTty ? '' : '\n'}`);
    },
    end: () => {
      if (shown && isTty) io.stderr.write('\n');
    },
  };
}

function formatProgress(verb: string, { doneBytes, totalBytes, bytesPerSecond, etaS }: PackProgress): string {
  const left = Number.isFinite(etaS) ? `, ${formatDuration(etaS)} left` : '';
  const rate = bytesPerSecond > 0 ? `, ${formatBytes(bytesPerSecond)}/s` : '';
  const share = Math.floor((100 * doneBytes) / totalBytes);
  return `${verb} ${share} % (${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}${rate}${left})`;
}

function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** power;
  return `${power === 0 ? Math.round(value) : value.toFixed(1)} ${units[power]}`;
}

function formatDuration(seconds: number): string {
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}
