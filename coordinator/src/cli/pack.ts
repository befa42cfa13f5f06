import { type Manifest, QUANT_CHOICES } from '@shoal/weights';
import { HubSource, openPacked, packModel } from '@shoal/weights/node';
import { choice, integer, SWITCH, text } from '../base/option-values.ts';
import { option, type OptionValues } from '../base/options.ts';
import { UsageError } from '../base/usage-error.ts';
import { CONFIG_OPTIONS, MAX_THREADS, MODEL } from '../config.ts';
import { command, type CommandIo, untilInterrupted } from './command.ts';
import { openModelOption } from './model-option.ts';
import { formatBytes, withProgress } from './progress.ts';

const OPTIONS = {
  model: option('model', MODEL, { help: 'ORG/NAME[@REVISION] of a hub, a Hugging Face directory, or a *.gguf file' }),
  offline: CONFIG_OPTIONS.offline,
  out: option('out', text('DIR'), { help: 'directory for the packed model' }),
  quant: option('quant', choice(...QUANT_CHOICES), {
    help:
      'format of the experts; q8 and q4 are blocks of 32 values with an f16 scale; auto is mxfp4 where the checkpoint has that, ' +
      'else q4',
  }),
  denseQuant: { ...CONFIG_OPTIONS.denseQuant, defaultText: 'f16, or q8 with --quant auto' },
  threads: option('threads', integer(0, MAX_THREADS), {
    defaultText: 'one per core, within 1 GiB of memory',
    help: 'threads that pack, 0 to pack on the main thread',
  }),
  report: option('report', SWITCH, {
    help: 'measure and print what packing changes in each kind of tensor; takes about half as long again',
  }),
  verify: option('verify', SWITCH, {
    help: 'read everything back afterwards and check every hash; without --model, of a model packed before',
  }),
  json: option('json', SWITCH, { help: 'print one JSON document on stdout at the end' }),
};

type PackOptions = OptionValues<typeof OPTIONS>;

export const runPack = command({
  name: 'pack',
  usage: ['--model MODEL --out DIR --quant KIND [options]', '--verify --out DIR'],
  about: `
Packs a checkpoint as a model directory of its own: the routed experts as content-addressed shards, the coordinator's own
weights in one file, config and tokenizer beside them. serve, generate, perplexity and logits take it as --model, without the
checkpoint. The files of a hub's model are fetched one after another, and each is dropped when it is packed. After an interruption
(Ctrl-C, a kill, a full disk, a cut line) the same command resumes where it stopped; of a folder that is complete it checks every
byte, and packs again what is damaged.`,
  options: OPTIONS,
  run: (options, io) => untilInterrupted((signal) => pack(options, io, signal)),
});

async function pack(options: PackOptions, io: CommandIo, signal: AbortSignal): Promise<void> {
  const { model, out: outDir, offline, quant, denseQuant, threads, report: measure } = options;
  if (model === undefined && !options.verify) throw new UsageError('--model MODEL is missing');
  if (outDir === undefined) throw new UsageError('--out DIR is missing');
  if (model !== undefined && quant === undefined) throw new UsageError(`--quant ${OPTIONS.quant.value} is missing`);
  const startedMs = performance.now();
  if (model !== undefined) {
    const source = await openModelOption({ model, offline }, io, signal);
    const verb = source instanceof HubSource ? 'fetching and packing' : 'packing';
    const formats = { quant, denseQuant };
    const more = { measure, signal, ...(threads !== undefined && { threads }) };
    await withProgress(io, verb, (onProgress) => packModel({ source, outDir, ...formats, ...more, onProgress }));
  }
  const packed = await openPacked(outDir);
  if (options.verify) await withProgress(io, 'checking', (update) => packed.verify(update, signal));
  report({ ...options, out: outDir }, packed.manifest, (performance.now() - startedMs) / 1000, io);
}

function report(options: PackOptions & { out: string }, manifest: Manifest, seconds: number, io: CommandIo): void {
  const { modelId, modelDigest, shape, shardBytes, expertLayers, expertsPerLayer, dense, nmse } = manifest;
  const hashes = expertLayers.flatMap((layer) => manifest.shards[layer]!);
  const distinct = new Set(hashes).size;
  const { out, verify: verified } = options;
  if (options.json) {
    const counts = { experts: hashes.length, shards: distinct, totalBytes: distinct * shardBytes + dense.bytes };
    const own = { denseFormat: dense.format, denseBytes: dense.bytes };
    const model = { out, modelId, modelDigest, shape, shardBytes, expertLayers, expertsPerLayer };
    io.stdout.write(`${JSON.stringify({ ...model, ...own, ...counts, nmse, verified, seconds }, null, 2)}\n`);
    return;
  }
  const experts =
    hashes.length === 0
      ? 'a dense model, which can draft (--draft-model)'
      : `${hashes.length} experts in ${distinct} shards of ${formatBytes(shardBytes)} (${shape.quant})`;
  io.stdout.write(
    `${modelId}: ${experts}, ${formatBytes(dense.bytes)} of the coordinator's own weights (${dense.format}), ` +
      `${formatBytes(distinct * shardBytes + dense.bytes)} in ${out}${verified ? ', every hash checked' : ''}\n`,
  );
  if (!options.report || !nmse) return;
  const width = Math.max(...Object.keys(nmse).map((kind) => kind.length));
  io.stdout.write('Normalised mean squared error of packing, by kind of tensor:\n');
  for (const [kind, value] of Object.entries(nmse)) {
    io.stdout.write(`  ${kind.padEnd(width)}  ${value === 0 ? '0' : value.toExponential(2)}\n`);
  }
}
