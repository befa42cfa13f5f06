import { type Manifest, QUANT_CHOICES } from '@shoal/weights';
import { checkPublished, HubSource, openPacked, type Published, packModel, publishShards } from '@shoal/weights/node';
import { choice, integer, path, SWITCH, text } from '../base/option-values.ts';
import { option, type OptionValues } from '../base/options.ts';
import { UsageError } from '../base/usage-error.ts';
import { CONFIG_OPTIONS, MAX_THREADS, MODEL } from '../config.ts';
import { command, type CommandIo, untilInterrupted } from './command.ts';
import { openModelOption } from './model-option.ts';
import { formatBytes, progressLine, withProgress } from './progress.ts';

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
  publish: option('publish', path('DIR'), {
    help: 'lay the shards out for a static host, bucket or CDN (--shard-url of serve); of several models in one folder, if you like',
  }),
  check: option('check', SWITCH, {
    help: 'with --publish: read again what is there, and replace what is damaged; without --out, only report it',
  }),
  json: option('json', SWITCH, { help: 'print one JSON document on stdout at the end' }),
};

type PackOptions = OptionValues<typeof OPTIONS>;

export const runPack = command({
  name: 'pack',
  usage: [
    '--model MODEL --out DIR --quant KIND [options]',
    '--verify --out DIR',
    '--publish DIR --out PACKED [--check]',
    '--publish DIR --check',
  ],
  about: `
Packs a checkpoint as a model directory of its own: the routed experts as content-addressed shards, the coordinator's own
weights in one file, config and tokenizer beside them. serve, generate, perplexity and logits take it as --model, without the
checkpoint. The files of a hub's model are fetched one after another, and each is dropped when it is packed. After an interruption
(Ctrl-C, a kill, a full disk, a cut line) the same command resumes where it stopped; of a folder that is complete it checks every
byte, and packs again what is damaged. --publish then puts each shard under DIR/shards by its SHA-256, as a hard link where that is
possible, with an index and the headers that a host has to send.`,
  options: OPTIONS,
  run: (options, io) => untilInterrupted((signal) => pack(options, io, signal)),
});

async function pack(options: PackOptions, io: CommandIo, signal: AbortSignal): Promise<void> {
  const { model, out: outDir, offline, quant, denseQuant, threads, report: measure, publish } = options;
  if (options.check && publish === undefined)
    throw new UsageError('--publish DIR is missing: --check reads a published folder');
  if (publish !== undefined && outDir === undefined && options.check)
    return checkFolder(publish, options.json, io, signal);
  if (model === undefined && !options.verify && publish === undefined) throw new UsageError('--model MODEL is missing');
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
  const published =
    publish === undefined
      ? undefined
      : await withProgress(io, 'publishing', (onProgress) =>
          publishShards({ packed, dir: publish, check: options.check, signal, onProgress }),
        );
  const seconds = (performance.now() - startedMs) / 1000;
  report({ ...options, out: outDir }, packed.manifest, published, seconds, io);
}

/** Reports a published folder, whose packed model may be elsewhere. Throws if a shard is not what it should be. */
async function checkFolder(dir: string, json: boolean, io: CommandIo, signal: AbortSignal): Promise<void> {
  const line = progressLine(io, 'checking shards');
  const found = await checkPublished(dir, { signal, onProgress: line.update }).finally(line.end);
  if (json) io.stdout.write(`${JSON.stringify(found, null, 2)}\n`);
  else io.stdout.write(`${found.shards} shards (${formatBytes(found.bytes)}) in ${dir} are whole\n`);
  const bad = [
    ...found.damaged.map((name) => `${name} is damaged`),
    ...found.missing.map((name) => `${name} is missing`),
  ];
  if (bad.length === 0) return;
  const remedy = 'run shoal pack --publish DIR --check --out PACKED to mend them';
  throw new Error(`${bad.length} shards are not what they should be (${bad.slice(0, 3).join(', ')}): ${remedy}`);
}

function report(
  options: PackOptions & { out: string },
  manifest: Manifest,
  published: Published | undefined,
  seconds: number,
  io: CommandIo,
): void {
  const { modelId, modelDigest, shape, shardBytes, expertLayers, expertsPerLayer, dense, nmse } = manifest;
  const hashes = expertLayers.flatMap((layer) => manifest.shards[layer]!);
  const distinct = new Set(hashes).size;
  const { out, verify: verified } = options;
  if (options.json) {
    const counts = { experts: hashes.length, shards: distinct, totalBytes: distinct * shardBytes + dense.bytes };
    const own = { denseFormat: dense.format, denseBytes: dense.bytes };
    const model = { out, modelId, modelDigest, shape, shardBytes, expertLayers, expertsPerLayer };
    io.stdout.write(
      `${JSON.stringify({ ...model, ...own, ...counts, nmse, verified, published, seconds }, null, 2)}\n`,
    );
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
  if (published) io.stdout.write(publishedText(options.publish!, published));
  if (!options.report || !nmse) return;
  const width = Math.max(...Object.keys(nmse).map((kind) => kind.length));
  io.stdout.write('Normalised mean squared error of packing, by kind of tensor:\n');
  for (const [kind, value] of Object.entries(nmse)) {
    io.stdout.write(`  ${kind.padEnd(width)}  ${value === 0 ? '0' : value.toExponential(2)}\n`);
  }
}

function publishedText(dir: string, { shards, linked, copied, replaced }: Published): string {
  const how = [
    linked > 0 && `${linked} linked`,
    copied > 0 && `${copied} copied`,
    replaced > 0 && `${replaced} of them in place of damaged ones`,
  ].filter(Boolean);
  return `${shards} shards are published in ${dir}${how.length > 0 ? ` (${how.join(', ')} now)` : ', as before'}\n`;
}
