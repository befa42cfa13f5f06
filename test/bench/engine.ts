import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import {
  expertTensors,
  listDenseTensors,
  listTensorSpecs,
  type ModelConfig,
  moeLayers,
  type TensorSpec,
} from '@shoal/model';
import { exportGguf } from '@shoal/weights/node';
import { type Core, createCore, defaultConfig } from '../../coordinator/src/index.ts';
import { writeRandomCheckpoint } from '../../tools/random-checkpoint/write.ts';
import { answer } from '../integration/answers.ts';
import { TINY_STORIES } from '../integration/golden.ts';
import { type LlamaCpp, openLlamaCpp } from '../llama/llama-cpp.ts';
import { allowedBytes, type CoordinatorMemory, coordinatorMemory } from './coordinator-memory.ts';
import { keptModel } from './kept-models.ts';
import { type MachineFacts, machineFacts, machineInWords } from './machine.ts';
import { formatTable, median } from './table.ts';

const ROOT = join(import.meta.dirname, '../..');
/** Checkpoints with real dimensions and the files made from them: 12 GB. */
const CACHE = join(ROOT, '.cache/bench');
const V2_LITE = join(ROOT, 'packages/model/src/testing/published-configs/DeepSeek-V2-Lite.json');
const V2_LITE_LAYERS = 5;

const PREFILL_TOKENS = 512;
const DECODE_PROMPT_TOKENS = 32;
const DECODE_TOKENS = 32;
/** Room for all five V2-Lite layers at q8, so that no expert is read twice: llama.cpp holds them all too. */
const EXPERT_MEMORY_BYTES = 3 * 2 ** 30;

/** Our name of the format, llama.cpp's name, and the bits per weight of both. */
const FORMATS = [
  { quant: 'q8', gguf: 'q8_0', bits: 8.5 },
  { quant: 'q4', gguf: 'q4_0', bits: 4.5 },
] as const;
type Format = (typeof FORMATS)[number];
export const ENGINE_QUANTS = FORMATS.map(({ quant }) => quant);

export interface EngineBenchOptions {
  repeats: number;
  json: boolean;
  /** Measures only this one of ENGINE_QUANTS. */
  quant: string | undefined;
}

interface Speed {
  prefillPerS: number;
  decodePerS: number;
}

/** How long the coordinator's event loop was blocked while our engine computed. */
type LoopDelay = ReturnType<typeof monitorEventLoopDelay>;

interface Result {
  model: string;
  format: string;
  ours: Speed;
  theirs: Speed;
  /** Bytes of weights that one decoded token needs, and the rate at which our engine reads them. */
  tokenBytes: number;
  decodeGBps: number;
  /** 99th percentile of the event loop's delay while our engine computed. */
  loopP99Ms: number;
  /** Memory of a coordinator in its own process. */
  memory: CoordinatorMemory;
}

/** Compares the coordinator alone (WebAssembly) with llama.cpp on the same checkpoint, threads and run. */
export async function benchEngine({ repeats, json, quant }: EngineBenchOptions): Promise<void> {
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  const machine = await machineFacts();
  const { threads } = machine;
  say(machineInWords(machine));
  const results: Result[] = [];
  for (const [name, modelDir] of await models(say)) {
    for (const format of FORMATS) {
      if (quant && format.quant !== quant) continue;
      results.push(await compare(name, modelDir, format, threads, repeats, say));
    }
  }
  if (json) {
    process.stdout.write(`${JSON.stringify({ machine, results }, null, 2)}\n`);
    return;
  }
  print(results, machine);
}

async function models(say: (line: string) => void): Promise<[string, string][]> {
  const dir = join(CACHE, `v2-lite-${V2_LITE_LAYERS}`);
  if (!existsSync(join(dir, 'model.safetensors.index.json'))) {
    say(`writing a random checkpoint of V2-Lite's dimensions, ${V2_LITE_LAYERS} layers, to ${dir}`);
    await writeRandomCheckpoint({
      configPath: V2_LITE,
      outDir: dir,
      seed: 1,
      layers: V2_LITE_LAYERS,
      fileBytes: 5e9,
      sparse: false,
    });
  }
  return [
    ['default model', TINY_STORIES],
    [`V2-Lite's dimensions, ${V2_LITE_LAYERS} layers`, dir],
  ];
}

async function compare(
  model: string,
  modelDir: string,
  format: Format,
  threads: number,
  repeats: number,
  say: (line: string) => void,
): Promise<Result> {
  const { quant, gguf, bits } = format;
  const files = await keptModel({
    modelDir,
    quant,
    cacheDir: CACHE,
    exportGguf: (out) => exportGguf({ modelDir, out, type: gguf }),
    onMaking: () => say(`${model}, ${quant}: packing, once for all runs`),
  });
  const memory = await coordinatorMemory({
    modelDir: files.packed,
    quant,
    expertMemoryBytes: defaultConfig().expertMemoryBytes,
  });
  const core = await createCore(
    defaultConfig({
      model: files.packed,
      quant,
      cacheDir: CACHE,
      replicas: 1,
      expertMemoryBytes: EXPERT_MEMORY_BYTES,
      // llama.cpp has no drafts here either.
      speculate: 'off',
    }),
  );
  const llama = await openLlamaCpp(files.gguf, { contextSize: 2 * PREFILL_TOKENS, threads });
  const [ours, theirs]: [Speed[], Speed[]] = [[], []];
  const loop = monitorEventLoopDelay({ resolution: 1 });
  try {
    // The first run of each is only a warm-up.
    for (let run = 0; run <= repeats; run++) {
      const [one, other] = [await ourSpeed(core, run, loop), await theirSpeed(llama, core.config, run)];
      const which = run === 0 ? 'warming up' : `${run} of ${repeats}`;
      say(`${model}, ${quant}, ${which}: ours ${inWords(one)}; llama.cpp ${inWords(other)}`);
      if (run === 0) continue;
      ours.push(one);
      theirs.push(other);
    }
    const tokenBytes = bytesPerToken(core.config, bits);
    const speed = middle(ours);
    return {
      model,
      format: quant,
      ours: speed,
      theirs: middle(theirs),
      tokenBytes,
      decodeGBps: (speed.decodePerS * tokenBytes) / 1e9,
      loopP99Ms: loop.percentile(99) / 1e6,
      memory,
    };
  } finally {
    await llama.close();
    await core.close();
  }
}

function inWords({ decodePerS, prefillPerS }: Speed): string {
  return `${decodePerS.toFixed(1)} and ${prefillPerS.toFixed(0)} tokens/s`;
}

/** Ids that no earlier run has used, so that no part of the prompt is cached. */
function prompt({ vocabSize }: ModelConfig, length: number, run: number): number[] {
  return Array.from({ length }, (_, i) => 4 + ((i * 7919 + run * 104_729) % (vocabSize - 8)));
}

async function ourSpeed(core: Core, run: number, loop: LoopDelay): Promise<Speed> {
  const long = prompt(core.config, Math.min(PREFILL_TOKENS, core.scheduler.maxContext - 1), run);
  loop.enable();
  const prefillMs = await timed(() => answer(core, long, { maxTokens: 0, promptLogprobs: false }));
  const atMs: number[] = [];
  await answer(core, prompt(core.config, DECODE_PROMPT_TOKENS, run + 1000), {
    maxTokens: DECODE_TOKENS + 1,
    // Of random ids a model may make an end at once; llama.cpp goes on here too.
    ignoreEos: true,
    onToken: () => void atMs.push(performance.now()),
  });
  loop.disable();
  const decodeMs = atMs.at(-1)! - atMs[0]!;
  return { prefillPerS: (long.length * 1000) / prefillMs, decodePerS: ((atMs.length - 1) * 1000) / decodeMs };
}

async function theirSpeed(llama: LlamaCpp, config: ModelConfig, run: number): Promise<Speed> {
  const long = prompt(config, Math.min(PREFILL_TOKENS, config.maxPositionEmbeddings - 1), run);
  const prefillMs = await llama.prefillMs(long);
  const decodeMs = await llama.decodeMs(prompt(config, DECODE_PROMPT_TOKENS, run + 1000), DECODE_TOKENS);
  return { prefillPerS: (long.length * 1000) / prefillMs, decodePerS: (DECODE_TOKENS * 1000) / decodeMs };
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now();
  await work();
  return performance.now() - startedMs;
}

function middle(speeds: readonly Speed[]): Speed {
  return {
    prefillPerS: median(speeds.map((speed) => speed.prefillPerS)),
    decodePerS: median(speeds.map((speed) => speed.decodePerS)),
  };
}

/** Bytes of every matrix that one decoded token uses: its experts and all dense ones but the embedding. */
function bytesPerToken(config: ModelConfig, bits: number): number {
  const values = ({ shape }: TensorSpec): number => shape.reduce((a, b) => a * b, 1);
  const mtp = `model.layers.${config.numHiddenLayers}.`;
  const dense = listDenseTensors(config)
    .filter(({ name, shape }) => shape.length > 1 && name !== 'model.embed_tokens.weight' && !name.startsWith(mtp))
    .reduce((sum, tensor) => sum + values(tensor), 0);
  const layers = moeLayers(config);
  const expert = listTensorSpecs(expertTensors(config, layers[0]!, 0)).reduce((sum, spec) => sum + values(spec), 0);
  return ((dense + layers.length * config.numExpertsPerTok * expert) * bits) / 8;
}

function print(results: readonly Result[], machine: MachineFacts): void {
  const rows = results.map(({ model, format, ours, theirs, decodeGBps, loopP99Ms }) => [
    `${model}, ${format}`,
    ours.decodePerS.toFixed(1),
    theirs.decodePerS.toFixed(1),
    `${(ours.decodePerS / theirs.decodePerS).toFixed(2)} ×`,
    `${decodeGBps.toFixed(1)} GB/s`,
    `${((100 * decodeGBps) / machine.readGBps.all).toFixed(0)} %`,
    ours.prefillPerS.toFixed(0),
    theirs.prefillPerS.toFixed(0),
    `${(ours.prefillPerS / theirs.prefillPerS).toFixed(2)} ×`,
    `${loopP99Ms.toFixed(1)} ms`,
  ]);
  const head = [
    '',
    'decode/s',
    'llama.cpp',
    'ratio',
    'weights',
    'of read loop',
    'prefill/s',
    'llama.cpp',
    'ratio',
    'loop p99',
  ];
  process.stdout.write(`${formatTable([head, ...rows])}\n\n`);
  process.stdout.write(
    `${machineInWords(machine)} Decode: tokens/s after a prompt of ${DECODE_PROMPT_TOKENS}; prefill: ${PREFILL_TOKENS} tokens (fewer where the context is). ` +
      `All experts are the coordinator's own, kept in ${mib(EXPERT_MEMORY_BYTES)} (--expert-memory). ` +
      'Held against: decode at least 0.5 × llama.cpp and 60 % of the read loop, prefill at least 0.15 ×, event loop p99 below 10 ms (its timer ticks every 1 ms).\n\n',
  );
  printMemory(results);
}

const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`;

function printMemory(results: readonly Result[]): void {
  const rows = results.map(({ model, format, memory }) => [
    `${model}, ${format}`,
    mib(memory.denseBytes),
    mib(memory.kvBytes),
    mib(memory.localExpertBytes),
    mib(memory.peakBytes),
    mib(allowedBytes(memory)),
    memory.peakBytes <= allowedBytes(memory) ? 'yes' : 'NO',
  ]);
  const head = ['', 'weights', 'KV in use', 'experts kept', 'peak', 'allowed', 'within'];
  process.stdout.write(`${formatTable([head, ...rows])}\n\n`);
  process.stdout.write(
    'Resident memory of a coordinator in a process of its own that computes all experts itself, ' +
      'beside 1.2 × (packed weights that it holds, experts kept by --expert-memory among them, + KV in use) + 300 MB.\n',
  );
}
